"""Study -> Case: what models and learners may see, built from an allow-list; and whether a text carries an identifier.

``to_case`` is the verb. ``find_identifiers`` guards every text that a person or a model adds later.
"""

from .case import instances, to_case
from .identifying import find_identifiers, identifiers
from .words import check_declared

__all__ = ["check_declared", "find_identifiers", "identifiers", "instances", "to_case"]
