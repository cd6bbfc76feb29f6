"""Where the expert's word goes in: an edited report becomes structured differences, a final reading, and a signature.

``review`` is the only maker of final readings and ``verify`` tells whether one is still what was signed. ``imported``
makes the review of a labelled data set, which nobody signs.
"""

from .review import imported, review
from .signature import sign, verify

__all__ = ["imported", "review", "sign", "verify"]
