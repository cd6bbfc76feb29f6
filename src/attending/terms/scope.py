"""Where a cue of negation or doubt reaches: NegEx-like scopes over the mentions of one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from ..records import Presence
from .lexicon import Entry, Lexicon
from .tokens import Token

# A segment after a comma that has its own verb, or opens like a statement of its own, is outside the scope before it.
_VERBS = {
    "is",
    "are",
    "was",
    "were",
    "ha",
    "has",
    "have",
    "show",
    "demonstrate",
    "remain",
    "appear",
    "measure",
    "reveal",
}
_SEEN = {
    "seen", "identified", "noted", "present", "evident", "visualized", "appreciated", "demonstrated", "detected",
    "observed", "definitely", "clearly", "apparent", "visible", "found", "situ", "place",
}  # fmt: skip
_OPENERS = {
    "stable", "unchanged", "mild", "moderate", "there", "calcified", "chronic", "old", "degenerative", "minimal",
    "mildly", "interval", "with", "improved", "increased", "persistent", "again", "status", "prior",
    "healed", "low", "although",
}  # fmt: skip
_SEEN_BY = {"finding", "evidence", "sign", "feature", "appearance"}
_COMPATIBLE = {"compatible", "consistent", "concordant", "keeping", "line"}
_CAUSED = {"from", "due", "secondary", "related", "because", "reflecting", "representing"}
_VERSUS = {"versus", "vs", "vs."}
_DOUBTS = {
    "possible", "possibly", "probable", "probably", "suspected", "questionable", "likely", "?", "equivocal", "presumed",
}  # fmt: skip
_FORWARD = {
    "history of", "indication", "clinical history", "limited evaluation of", "limits evaluation of", "to assess for",
    "limits evaluation for", "evaluation for", "limited evaluation for",
}  # fmt: skip


@dataclass
class Mention:
    """One wording met in the sentence: tokens [start, end)."""

    kind: str
    name: str
    start: int
    end: int
    also: tuple[Entry, ...] = ()
    sides: set[str] = field(default_factory=set)
    presence: Presence = "present"
    silent: bool = False
    sites: list[Mention] = field(default_factory=list)
    used: bool = False
    inner: tuple[int, ...] = ()  # places of sides that stand inside the wording


def mentions(tokens: list[Token], book: Lexicon) -> list[Mention]:
    """Longest wordings, left to right, without overlap."""
    out: list[Mention] = []
    words = [t.stem for t in tokens]
    at = 0
    while at < len(words):
        length, entries, sides = book.find(words, at)
        if not length:
            at += 1
            continue
        first, *rest = entries
        made = Mention(first.kind, first.name, at, at + length, tuple(rest), inner=sides)
        made.sides |= {words[i] if words[i] in {"left", "right"} else "bilateral" for i in sides if words[i] != "not"}
        if any(words[i] == "not" for i in sides):
            made.presence = "absent"
        out.append(made)
        at += length
    return out


def kinds(mention: Mention) -> set[str]:
    return {mention.kind, *(e.kind for e in mention.also)}


def barriers(words: list[str], found: list[Mention]) -> tuple[list[int], list[int]]:
    """(hard, soft) token places that end a scope: stops and semicolons; commas and "and" before a new statement."""
    hard = [
        i
        for i, w in enumerate(words)
        if w in {".", ";", ":", "?", "!"}
        and not (w == "?" and i + 1 < len(words))
        and not (w == "." and _abbrev(words, i))
        and not (w == ":" and _labels(i, found))
    ]
    hard += [m.start for m in found if m.kind == "stop"]
    soft: list[int] = []
    for i, word in enumerate(words):
        if word == "with" and i + 1 < len(words) and words[i - 1] not in _COMPATIBLE:
            soft.append(i)
        if word in {",", "and"} and i + 1 < len(words):
            end = next((j for j in range(i + 1, len(words)) if words[j] in {",", ".", ";"} or j in hard), len(words))
            segment = words[i + 1 : end]
            stated = any(
                w in _VERBS and not (j + 1 < len(segment) and segment[j + 1] in _SEEN | {"not", "no"})
                for j, w in enumerate(segment)
            )
            opens = word == "," and segment and segment[0] in _OPENERS and "or" not in segment
            doubt = segment[1:2] if segment[:1] in (["a"], ["an"], ["the"], ["is"]) else segment[:1]
            closed = i > 0 and words[i - 1] in _SEEN and segment[:1] not in (["or"], ["nor"], ["no"])
            doubted = doubt and doubt[0] in _DOUBTS and "no" not in segment
            closes = word == "," and segment[-1:] and segment[-1] in _DOUBTS and not {"or", "nor", "no"} & set(segment)
            joined = word == "and" and segment[:1] in (["there"], ["with"])
            joined = joined or (word == "," and segment[1:2] == ["of"] and segment[0] in _SEEN_BY)
            joined = joined or (word == "," and words[max(0, i - 2) : i] in (["nil", "acute"], ["nothing", "acute"]))
            if stated or opens or closed or doubted or joined or closes:
                soft.append(i)
    return sorted(hard), sorted(soft)


def _labels(at: int, found: list[Mention]) -> bool:
    """ "Lungs: clear", "Gallbladder: calculi": a colon between a part of the body and what is said of it."""
    before = [m for m in found if m.end <= at]
    after = [m for m in found if m.start > at]
    if not before or not after or not kinds(before[-1]) & {"organ"} or before[-1].end < at:
        return False
    if any("finding" in kinds(m) for m in before):
        return False
    return bool(kinds(after[0]) & {"normal", "state", "finding"}) and after[0].start - at <= 2


def _abbrev(words: list[str], at: int) -> bool:
    return at > 0 and words[at - 1] in {"vs", "dr", "approx", "e", "i"}


def _reach(at: int, forward: bool, stops: list[int], length: int) -> int:
    if forward:
        return min((s for s in stops if s >= at), default=length)
    return max((s for s in stops if s < at), default=-1)


def apply(words: list[str], found: list[Mention], hard: list[int], soft: list[int]) -> None:
    """Set presence and silent on every finding, organ and state mention."""
    targets = [m for m in found if kinds(m) & {"finding", "organ", "state", "normal"}]
    stops = sorted(hard + soft)
    negated: set[int] = set()
    doubted: set[int] = set()
    for cue in found:
        has = kinds(cue)
        if "skip" in has:
            # "Not assessed: fracture": a colon does not end what was not looked at.
            open_stops = [s for s in hard if words[s] != ":"] if cue.start < len(words) else hard
            lo, hi = _reach(cue.start, False, open_stops, len(words)), _reach(cue.end, True, open_stops, len(words))
            if cue.name in _FORWARD:
                lo = cue.start
            for target in targets:
                if lo < target.start < hi:
                    target.silent = True
            continue
        ahead = _reach(cue.end, True, stops, len(words))
        if cue.name == "non":  # "non compressible veins": the next word alone
            ahead = min(ahead, cue.end + 1)
        follows = any(cue.end <= m.start < ahead and "finding" in kinds(m) for m in targets)
        ahead = min(ahead, _pair_end(cue, targets, words, _reach(cue.end, True, hard, len(words))))
        forward = cue.name == "none" and words[cue.end : cue.end + 1] not in ([], *([w] for w in _AFTER_NONE))
        if ("neg-pre" in has and ("neg-post" not in has or follows)) or forward:
            ahead = min(ahead, _list_end(cue, targets, words, ahead))
            negated |= {id(m) for m in targets if cue.end <= m.start < ahead} - _telegraphic(cue, found, words)
        elif "neg-post" in has:
            denied = {id(m) for m in _before(cue, targets, words, stops, hard)}
            negated |= denied or {id(m) for m in targets if cue.end <= m.start < ahead}
        if _of_place(cue, words):
            continue  # "a nodule, probably within the middle lobe": the place is in doubt
        if "unc-pre" in has and not ("unc-post" in has and not follows):
            # "may be secondary to a mass": the cause is in doubt
            beyond = cue.end + 1 if words[cue.end : cue.end + 1] in ([w] for w in _CAUSED) else cue.end
            doubted |= {id(m) for m in targets if cue.end <= m.start < _reach(beyond, True, stops, len(words))}
            if beyond > cue.end:
                continue
        if "unc-post" in has and words[cue.end : cue.end + 1] in ([w] for w in _CAUSED):
            # "scarring, likely from tuberculosis"
            doubted |= {id(m) for m in targets if cue.end <= m.start < _reach(cue.end + 1, True, stops, len(words))}
            continue
        if "unc-post" in has and not ("unc-pre" in has and follows and cue.name not in _VERSUS):
            before = _before(cue, targets, words, stops, hard)
            if cue.name in _VERSUS and before and _represented(words, before[-1].start):
                continue
            doubted |= {id(m) for m in (before[-1:] if cue.name in _VERSUS else before)}
        elif cue.name in _VERSUS:
            doubted |= {id(m) for m in _before(cue, targets, words, stops, hard)[-1:]}
    first_doubt = {id(m): i for i, m in enumerate(found) if id(m) in doubted}
    _alternatives(words, targets, negated, doubted)
    for target in targets:
        key = id(target)
        if key in negated:
            target.presence = "absent"
        elif key in doubted or key in first_doubt:
            target.presence = "uncertain"
    for cue in found:
        # What cannot be excluded is in doubt, whatever stood before.
        if cue.name in _STRONG:
            before = _before(cue, targets, words, stops, hard)
            for target in before:
                target.presence = "uncertain"


def _of_place(cue: Mention, words: list[str]) -> bool:
    after = words[cue.end : cue.end + 1]
    aged = after in AGED and words[cue.end + 1 : cue.end + 2] in ([], ["."], [";"])
    return cue.name in LIKELY and cue.start > 0 and (after in IN or aged)


def _pair_end(cue: Mention, targets: list[Mention], words: list[str], end: int) -> int:
    """ "No acute disease, scarring of both apices": without "or" the second of two is stated."""
    inside = [m for m in targets if cue.end <= m.start < end and "finding" in kinds(m)]
    if not {"neg-pre"} & kinds(cue) or len(inside) < 2 or cue.name == "non":
        return len(words)
    first, second = inside[:2]
    between = words[first.end : second.start]
    parallel = any(pair == (",", "no") for pair in pairwise(words[cue.end : end]))
    if parallel and "," in between and not {"or", "and", "nor"} & set(between):
        return first.end + between.index(",")  # "no bleed, infarct, no mass": each has its own "no"
    alone = words[cue.end : end].count(",") == 1 and not JOINED & set(words[first.end : end])
    return first.end + between.index(",") if alone and "," in between else len(words)


def _telegraphic(cue: Mention, found: list[Mention], words: list[str]) -> set[int]:
    """ "No congestion, hila normal": a part of the body with its state after a comma is a statement of its own."""
    out: set[int] = set()
    for organ, state in pairwise(found):
        stated = organ.start > cue.end and "organ" in kinds(organ) and kinds(state) & {"normal", "state"}
        if (
            stated
            and words[organ.start - 1] == ","
            and set(words[organ.end : state.start]) <= {"of", "is", "are", "in"}
        ):
            out |= {id(organ), id(state)}
    return out


def _list_end(cue: Mention, targets: list[Mention], words: list[str], ahead: int) -> int:
    """ "No A or B, and C" states C: a list of denials that "or" has ended, or that had one member, is not taken up."""
    for at in range(cue.end, min(ahead, len(words) - 1)):
        if words[at] == "," and words[at + 1] == "and":
            inside = [m for m in targets if cue.end <= m.start < at and "finding" in kinds(m)]
            if "or" in words[cue.end : at] or (len(inside) == 1 and "," not in words[cue.end : at]):
                return at
    return ahead


_AFTER_NONE = {
    ",", ".", ";", "seen", "identified", "present", "visible", "noted", "detected", "is", "are", "found",
    "demonstrated",
}  # fmt: skip
LIKELY = {"probably", "possibly", "likely", "perhaps", "most likely", "presumably"}
AGED = (["old"], ["chronic"], ["acute"], ["recent"], ["benign"], ["incidental"], ["longstanding"], ["subacute"],
        ["congenital"], ["physiological"], ["reactive"], ["remote"], ["healed"], ["new"])  # fmt: skip
IN = (["within"], ["in"], ["at"], ["along"], ["on"], ["overlying"], ["inside"])
JOINED = {"or", "and", "nor", "no", "without", "is", "are", "including", "include", "e"}
_STRONG = {
    "cannot be excluded", "can not be excluded", "cannot be ruled out", "can not be ruled out", "not excluded",
    "is not excluded", "not ruled out", "cannot be entirely excluded", "cannot be completely excluded",
    "cannot entirely be excluded", "not entirely excluded", "not completely excluded",
}  # fmt: skip


def _before(cue: Mention, targets: list[Mention], words: list[str], stops: list[int], hard: list[int]) -> list[Mention]:
    """Findings that a cue behind them reaches: back to the last stop; a soft stop inside a list does not end it."""
    low = _reach(cue.start, False, hard, len(words))
    if words[cue.end - 1] == "expanded" and words[cue.start - 1] == "lung":
        return []  # "drain in situ, lung re-expanded"
    near = [m for m in targets if low < m.start < cue.start and kinds(m) & {"finding", "state"}]
    soft = _reach(cue.start, False, stops, len(words))
    inside = [m for m in near if m.start > soft]
    if len(inside) > 1:  # "opacity, aspiration not excluded": no list without "and" or "or"
        between = words[inside[-2].end : inside[-1].start]
        if "," in between and not {"and", "or", "nor", "/"} & set(words[inside[0].end : inside[-1].start]):
            return inside[-1:]
    return inside or near[-1:]


def _alternatives(words: list[str], targets: list[Mention], negated: set[int], doubted: set[int]) -> None:
    """ "Scarring or atelectasis": each alone is in doubt, unless the whole is denied."""
    findings = [m for m in targets if "finding" in kinds(m)]
    for one, two in pairwise(findings):
        between = words[one.end : two.start]
        joined = "or" in between or ("/" in between and len(between) <= 3)
        if _represented(words, one.start):
            continue
        if joined and len(between) <= 5 and id(one) not in negated and id(two) not in negated:
            doubted |= {id(one), id(two)}


def _represented(words: list[str], at: int) -> bool:
    """ "Which represents atelectasis or infiltrate": said firmly, unless a word of doubt stands before it."""
    lead = words[max(0, at - 4) : at]
    if "represent" not in lead:
        return False
    verb = at - len(lead) + lead.index("represent")
    return not _HEDGED & set(words[max(0, verb - 4) : verb])


_HEDGED = {
    "may", "might", "could", "can", "likely", "probably", "possibly", "would", "should", "not", "to", "whether", "if",
    "perhaps", "presumably", "must", "uncertain", "thought", "felt",
}  # fmt: skip
