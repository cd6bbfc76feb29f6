"""Tasks: what is found on a case. The gate looks first; then quality, volumes of a T1 head, tumour, approved heads.

``find(case, readers, site)`` is the verb. What no admitted model looked at is said to be not assessed, and why.
``may_see(image)`` is the gate's word alone, for learning.
"""

from .find import find
from .gate import may_see
from .running import Readers

__all__ = ["Readers", "find", "may_see"]
