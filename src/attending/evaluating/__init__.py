"""Where a candidate must prove itself: scored against the release that it would replace, then let through or refused.

``compare`` makes the Scores, ``gate`` gives the reason for a refusal or None, and ``judged`` makes the Release of both.
A release that the gate let through is still only a candidate until a person approves it.
"""

from .compare import compare
from .gate import Policy, gate, judged

__all__ = ["Policy", "compare", "gate", "judged"]
