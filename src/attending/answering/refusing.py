"""What is no question about the study that was named: empty, in another language, about somebody else."""

from __future__ import annotations

import re
import unicodedata

from ..errors import QuestionRefused
from ..terms import lexicon
from ..terms.tokens import stem

MOST = 500
"""Characters of one question."""

# Words that nearly every English question has at least one of.
_ENGLISH = (
    "a about an any are at be been can could did do does for from had has have how i in is it many me much of on or "
    "show shown since than that the there these this to was were what when where which who why will with would "
    "describe explain list name tell give compare"
)
ENGLISH = frozenset(_ENGLISH.split())
OTHERS = re.compile(
    r"\b(?:another|other|different|next|previous|last)\s+(?:patient|person|man|woman|child|case)\b"
    r"|\b(?:patient|person|man|woman|boy|girl)\s+(?:named|called|no\.?|number|id|mrn|#)\s*\S+"
    r"|\b(?:mrn|ssn|nhs number|accession)\b|\b\d{6,}\b|\b[0-9a-f]{16}\b"
    r"|\b\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d{2}\b",
    re.I,
)
OWN = re.compile(r"\b(?:previous|last)\s+(?:case|examination|study|scan)\b", re.I)
TITLED = re.compile(r"\b(?i:mr|mrs|ms|miss|dr)\b\.?\s+[A-Z][a-z]")
NAMED = re.compile(
    r"\b(?i:of|for|about|does|did|has|is|can)\s+(?:[A-Z][a-z]+\s+[A-Z][a-z]+)\b|"
    r"\b[A-Z][a-z]+'s\b(?! (?:disease|syndrome|sign|line|pouch|angle|fracture|tumou?r|triangle|fissure|thyroiditis))"
)
# Surnames that the lexicon knows as eponyms or as plain words: "Smith fracture", "gray matter".
_SURNAMES = (
    "baker barton best black chance field fisher garden gray green hill hunt jones little long mason morton murphy "
    "pick sachs sharp short smith stone walker weber white young"
)
SURNAMES = frozenset(_SURNAMES.split())


def refuse(question: str) -> None:
    """Raises QuestionRefused for a question that no tool or reader is to see. The message never repeats the question.

    English is told by its letters and by its small words: a Latin-script question of three words or more without any
    of them, and not made of the lexicon's words, is taken as another language.
    """
    text = question.strip()
    if not any(c.isalnum() for c in text):
        raise QuestionRefused("the question is empty", "one question about the study", 'ask: "how large is the brain?"')
    if len(text) > MOST:
        raise QuestionRefused(f"a question of {len(text)} characters", f"up to {MOST}", "ask one thing at a time")
    letters = [c for c in text if c.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(c, "") for c in letters)
    words = re.findall(r"[a-z]+", text.lower())
    if foreign * 5 > len(letters) or (len(words) > 2 and not ENGLISH.intersection(words) and not _terms(words)):
        raise QuestionRefused(
            "the question is not in English", "English: the words of findings and anatomy are known in English only",
            "ask it in English",
        )  # fmt: skip
    if (OTHERS.search(text) and not OWN.search(text)) or TITLED.search(text) or _named(text):
        raise QuestionRefused(
            "the question names a person, a number or another study",
            "questions about the study that the command names, without names, dates or numbers of people",
            "leave them out; for another study give that study's id to the command",
        )


def _terms(words: list[str]) -> bool:
    """Key words alone ("left pleural effusion size"): nearly all of them belong to the lexicon."""
    known = lexicon().words
    return sum(stem(word) in known for word in words) >= 0.75 * len(words)


def _named(text: str) -> bool:
    """Two capitalised words, or a possessive, of which no word belongs to the lexicon ("Cushing's" may), or the second
    as a surname only ("John Smith")."""
    known = lexicon().words
    for m in NAMED.finditer(text):
        words = [w for w in re.findall(r"[A-Za-z]+", m.group())[-2:] if w[0].isupper()]
        of_reports = [stem(w) in known for w in words]
        surname = of_reports == [False, True] and words[-1].lower() in SURNAMES
        if words and (surname or not any(of_reports)):
            return True
    return False
