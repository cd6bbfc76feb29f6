"""Hold every sentence against what it cites: ``verify`` a draft, or ``check_sentence`` one sentence by anyone.

Independent of whoever wrote it: no template, prompt or model of the drafting room is known here.
"""

from .facts import facts_of_text
from .sentence import check_sentence
from .verify import verify

__all__ = ["check_sentence", "facts_of_text", "verify"]
