"""Tasks: what is found on a case. The gate looks first; then quality, volumes of a T1 head, tumour, approved heads.

``find(case, readers, site)`` is the verb. What no admitted model looked at is said to be not assessed, and why.
"""

from .find import find
from .running import Readers

__all__ = ["Readers", "find"]
