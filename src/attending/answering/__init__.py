"""Answering: a question about a study, from what was found, measured and recorded; otherwise "cannot tell".

``answer(question, reading, priors)`` is the verb. It uses no model: each answer cites the findings, measurements,
evidence or dated facts that it rests on, and a question that these cannot settle is told what would be needed.
``refuse(question)`` turns away what no study can answer, before any model sees it.
"""

from .answer import answer
from .knowledge import Fact, facts
from .looking_up import matches
from .question import Question, understand
from .refusing import refuse

__all__ = ["Fact", "Question", "answer", "facts", "matches", "refuse", "understand"]
