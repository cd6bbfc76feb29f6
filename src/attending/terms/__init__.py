"""Text to coded assertions and back: what one English sentence of a report says, without a model.

``parse`` gives the assertions of a sentence, ``quantities`` its numbers; ``Parsed`` has both with their places.
"""

from .assertion import Assertion
from .lexicon import Lexicon, Term, lexicon
from .parse import Parsed, parse
from .quantities import Quantity, quantities

__all__ = ["Assertion", "Lexicon", "Parsed", "Quantity", "Term", "lexicon", "parse", "quantities"]
