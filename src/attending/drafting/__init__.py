"""Put decided facts into sentences that cite them: ``write`` a draft, ``reword`` a sentence that the checker struck.

What is present, absent or unclear is decided before (``tasks``); here nothing is judged. The deterministic writer is
always there; a language model may only word one fact at a time.
"""

from .worded import freely, reword, rewriter
from .write import write

__all__ = ["freely", "reword", "rewriter", "write"]
