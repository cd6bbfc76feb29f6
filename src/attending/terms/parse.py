"""One sentence to assertions: which finding, stated how, on which side, where, with which numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from . import order, scope
from .assertion import Assertion, merge, side_of
from .lexicon import Entry, Lexicon, lexicon
from .quantities import Quantity, quantities
from .scaffold import ADJECTIVE, BE, DEVICE_NOUNS, EXAMINATIONS, MEANING, OWN_BEFORE, PREPOSITIONS, SMALL, TISSUES
from .scope import Mention, kinds
from .tokens import Token, tokenize


def parse(sentence: str) -> tuple[Assertion, ...]:
    """The assertions of one English sentence, in order. Pure, no model; below a millisecond."""
    return Parsed(sentence).assertions


class Parsed:
    """A sentence with its tokens, mentions, assertions and quantities: what ``parse`` and the checker share."""

    def __init__(self, sentence: str, book: Lexicon | None = None) -> None:
        self.text = sentence
        self.book = book or lexicon()
        self.tokens: list[Token] = tokenize(sentence)
        self.words = [t.stem for t in self.tokens]
        self.found = scope.mentions(self.tokens, self.book)
        self.quantities = quantities(sentence)
        self.studies = self._studies()
        self._adjectives()
        self.hard, self.soft = scope.barriers(self.words, self.found)
        self.more = self._order()
        self.marks = [h for h in self.hard if self.words[h] in {".", ";", "?", "!"}]
        scope.apply(self.words, self.found, self.hard, self.soft)
        self.findings = [m for m in self.found if m.kind == "finding"]
        self.organs = [m for m in self.found if "organ" in kinds(m)]
        self.sides = [m for m in self.found if any(k.startswith("side-") for k in kinds(m))]
        self._give_sides()
        made = self._states()
        self._place(made)
        normal = self._normal(made)
        structures = self._structures(made)
        everything = sorted((*made, *structures), key=lambda m: m.start)
        owned = self._own(everything)
        out = [a for m in everything if not m.silent for a in self._byside_of(m, owned.get(id(m), ()))]
        out += [a for m in normal if not m.silent for a in self._denials(m)]
        self.assertions: tuple[Assertion, ...] = tuple(sorted(merge(out), key=lambda a: a.span))

    def _studies(self) -> list[Mention]:
        """Parts of the body that name an examination and no place: "chest radiograph", "MRI of the brain"."""
        out = []
        for m in self.found:
            if "organ" not in kinds(m):
                continue
            after = self.words[m.end : m.end + 1]
            before = [w for w in self.words[max(0, m.start - 4) : m.start] if w not in SMALL]
            if (after and after[0] in EXAMINATIONS) or (before and before[-1] in EXAMINATIONS and "of" in self.words):
                m.kind, m.also = "study", (Entry("study", _organ(m)),)
                out.append(m)
        return out

    def _adjectives(self) -> None:
        """ "Abnormal" before the name of a finding or a part of the body adds no finding of its own."""
        for one, two in pairwise(self.found):
            if self.words[one.start : one.end] == ["abnormal"] and one.end == two.start and kinds(two) & {"finding"}:
                one.kind, one.also = "adjective", ()
            elif (
                one.kind == two.kind == "finding" and one.end == two.start and two.name in self.book.ancestors(one.name)
            ):
                two.kind, two.also = "noun", ()  # "cavitary lung lesion" is one finding
            elif (
                one.kind == two.kind == "organ"
                and one.end == two.start
                and set(self.words[two.start : two.end]) <= TISSUES
            ):
                two.kind, two.also = "noun", ()  # "supraspinatus tendon"
            elif (
                self._device(one)
                and self._device(two)
                and one.end == two.start
                and set(self.words[two.start : two.end]) <= DEVICE_NOUNS
            ):
                two.kind, two.also = "noun", ()  # "shunt catheter"

    def _device(self, m: Mention) -> bool:
        return m.kind == "finding" and "medical device" in (m.name, *self.book.ancestors(m.name))

    # sides ---------------------------------------------------------------------------------------------------------

    def _order(self) -> str | None:
        """The side that is said to be the worse one; the sides that say so are no sides of two findings."""
        side, both = order.worse(self.text)
        for mention in self.found:
            place = self.tokens[mention.start].start
            if both[0] <= place < both[1] and mention.kind.startswith("side-"):
                mention.kind = "side-bilateral"
        return side

    def _give_sides(self) -> None:
        for mention in self.sides:
            if (self.words[mention.start] == "both" and self._count(mention)) or self._compared(mention):
                continue
            side = next(k for k in kinds(mention) if k.startswith("side-"))[5:]
            if "organ" in kinds(mention):
                mention.sides.add(side)
                continue
            target = self._spoken_of(mention) or self._next_named(mention) or self._last_named(mention)
            if target is not None:
                target.sides.add(side)

    def _spoken_of(self, mention: Mention) -> Mention | None:
        """ "..., but the left is narrowed": the side is the subject of the finding that follows."""
        if self.words[mention.end : mention.end + 1] == [] or self.words[mention.end] not in BE:
            return None
        high = min((h for h in self.marks if h > mention.start), default=len(self.words))
        said = [m for m in self.found if mention.end < m.start < high and m.kind == "finding"]
        return said[0] if said and self.words[mention.start - 1 : mention.start] == ["the"] else None

    def _compared(self, mention: Mention) -> bool:
        """ "2.1 ml against 3.3 ml on the right": the side of the number that is compared with."""
        lead = self.words[max(0, mention.start - 7) : mention.start]
        return bool({"against", "versus", "vs", "compared"} & set(lead)) and any(w[0].isdigit() for w in lead)

    def _count(self, both: Mention) -> bool:
        """ "Two nodules, both in the right lung": both of them, not both sides."""
        after = [w for w in self.words[both.end : both.end + 5] if w not in {"the", "located", "lying"}]
        return after[:1] in (["in"], ["on"], ["at"], ["within"], ["of"]) and after[1:2] in (["left"], ["right"])

    def _next_named(self, mention: Mention) -> Mention | None:
        for other in self.found:
            if other.start < mention.end or not kinds(other) & {"finding", "organ"}:
                continue
            cues = {i for m in self.found if m.kind in {"neg-pre", "unc-pre"} for i in range(m.start, m.end)}
            between = [self.words[i] for i in range(mention.end, other.start) if i not in cues]
            linked = {"and", "or", "/", ","} & set(between)
            if linked and not ({"left", "right"} & set(between)):
                return None
            if len(between) > 6 or PREPOSITIONS & set(between) or {".", ";", "is", "are"} & set(between):
                return None
            return other
        return None

    def _last_named(self, mention: Mention) -> Mention | None:
        low = max((h for h in self.marks if h < mention.start), default=-1)
        before = [m for m in self.found if low < m.start < mention.start and kinds(m) & {"finding", "organ"}]
        findings = [m for m in before if m.kind == "finding"]
        if findings:
            return findings[-1]
        if before:
            return before[-1]
        high = min((h for h in self.marks if h > mention.start), default=len(self.words))
        after = [m for m in self.found if mention.start < m.start < high and kinds(m) & {"finding", "organ"}]
        return after[0] if after else None

    # findings said as organ and state ------------------------------------------------------------------------------

    def _states(self) -> list[Mention]:
        """Findings, with those that an organ and a state name together."""
        made: list[Mention] = []
        for mention in self.found:
            state = next((e.name for e in mention.also if e.kind == "state"), None)
            state = mention.name if mention.kind == "state" else state
            if state is not None and (pair := self._organ_of(mention, state)):
                organ, name = pair
                organ.used = True
                both = Mention("finding", name, min(organ.start, mention.start), max(organ.end, mention.end))
                both.sides = set(mention.sides) | set(organ.sides)
                both.presence, both.silent = mention.presence, mention.silent or organ.silent
                mention.used = True
                if organ.presence != "present" and mention.presence == "present" and organ.start < mention.start:
                    both.presence = organ.presence
                made.append(both)
            elif mention.kind == "finding":
                made.append(mention)
        return sorted(made, key=lambda m: m.start)

    def _organ_of(self, state: Mention, name: str) -> tuple[Mention, str] | None:
        best: tuple[int, Mention, str] | None = None
        for organ in self.organs:
            gap = state.start - organ.end if organ.end <= state.start else organ.start - state.end
            low, high = sorted((organ.start, state.start))
            if gap < 0 or gap > 8 or any(low < h < high for h in self.hard):
                continue
            between = [m for m in self.found if low < m.start < high and m.kind in {"finding", "normal", "state"}]
            if any(m.kind != "state" for m in between):
                continue
            finding = self.book.states.get((_organ(organ), name))
            if finding == "=normal":
                denied = self.book.organs[_organ(organ)].denies
                finding = denied[0] if denied else None
            if finding is None:
                continue
            comma = "," in self.words[low:high]
            cost = gap + (6 if comma else 0) + (1 if organ.start > state.start and state.kind != "state" else 0)
            if best is None or cost < best[0]:
                best = (cost, organ, finding)
        return None if best is None or best[0] > 9 else (best[1], best[2])

    # sites ---------------------------------------------------------------------------------------------------------

    def _place(self, made: list[Mention]) -> None:
        for organ in self.organs:
            if organ.used or self._is_measured(organ):
                continue
            target = self._holder(organ, made)
            if target is not None:
                organ.used = True
                target.sites.append(organ)
                target.sides |= organ.sides

        for mention in made:
            if not mention.sites and self.book.terms[mention.name].region == "any":
                mention.sites += self._inside(mention)

    def _is_measured(self, organ: Mention) -> bool:
        """ "with a left kidney volume of 161 ml" gives the kidney's volume and no place of what stands before."""
        if self.words[organ.end : organ.end + 1] not in (["volume"], ["length"], ["size"], ["width"]):
            return False
        end = self.tokens[organ.end].end
        return any(0 <= q.span[0] - end < 25 for q in self.quantities)

    def _inside(self, mention: Mention) -> list[Mention]:
        """The part of the body that a wording of a finding holds itself: the rib of a "rib fracture"."""
        if mention.end - mention.start == 1 and self.words[mention.start] in self.book.stands_for:
            return []  # an abbreviation stands for the whole name
        for at in range(mention.start, mention.end):
            for phrase, entries in self.book.wordings.get(self.words[at], ()):
                organ = next((e for e in entries if e.kind == "organ"), None)
                fits = at + len(phrase) <= mention.end and tuple(self.words[at : at + len(phrase)]) == phrase
                if organ is not None and fits and organ.name not in mention.name:
                    return [Mention("organ", organ.name, at, at + len(phrase))]
        return []

    def _holder(self, organ: Mention, made: list[Mention]) -> Mention | None:
        low = max((h for h in self.marks if h < organ.start), default=-1)
        high = min((h for h in self.marks if h > organ.start), default=len(self.words))
        normal = [m for m in self.found if m.kind == "normal" and low < m.start < high]
        after = [m for m in made if organ.end <= m.start < high]
        before = [m for m in made if low < m.start and m.end <= organ.start]
        if after:
            between = self.words[organ.end : after[0].start]
            if before and MEANING & set(between):
                return before[-1]  # "a nodule in the left lung, suggesting a granulomatous process"
            if not PREPOSITIONS & set(between) and not any(
                n.start < after[0].start and n.start >= organ.end for n in normal
            ):
                plain = [w for w in between if w in {",", "and", "or", "is", "are", "with", "without", "no"}]
                if not plain:
                    return after[0]
        if before:
            between = self.words[before[-1].end : organ.start]
            if not any(before[-1].end <= n.start for n in normal if n.start < organ.start) and not (
                normal and ("," in between or "and" in between)
            ):
                return before[-1]
        if normal:
            return None
        return after[0] if after else None

    # statements of normality ---------------------------------------------------------------------------------------

    def _normal(self, made: list[Mention]) -> list[Mention]:
        """Organs that are said to be normal; presence "present" on one means its normality is denied."""
        out: list[Mention] = []
        states = [m for m in self.found if "normal" in kinds(m)]
        last = -1
        for at, state in enumerate(states):
            low = max([last, *(h for h in self.hard if h < state.start)])
            free = [o for o in self.organs if not o.used and low < o.start < state.start]
            if not free:
                later = states[at + 1].start if at + 1 < len(states) else len(self.words)
                high = min([h for h in self.hard if h > state.start] or [len(self.words)])
                stop = min([m.start for m in made if m.start >= state.end] or [len(self.words)])
                free = [o for o in self.organs if not o.used and state.end <= o.start < min(high, stop)]
                if later < high and free and not any(o.start < later for o in free):
                    free = []
                free = [o for o in free if o.start < later] or free
            for organ in free:
                organ.used = True
                if any(o.start == organ.end for o in free) and self.words[organ.end - 1].endswith(ADJECTIVE):
                    continue  # "retroperitoneal lymph nodes": a place of the next one
                denied = state.presence == "absent"
                item = Mention("normal", _organ(organ), organ.start, organ.end, sides=set(organ.sides))
                item.presence = "present" if denied else ("uncertain" if state.presence == "uncertain" else "absent")
                item.silent = organ.silent or state.silent
                out.append(item)
            last = state.start
        return out

    def _denials(self, organ: Mention) -> list[Assertion]:
        term = self.book.organs[organ.name]
        span = (self.tokens[organ.start].start, self.tokens[organ.end - 1].end)
        side = side_of(organ.sides)
        names = term.denies if organ.presence == "absent" else term.denies[:1]
        return [
            Assertion(n, self.book.terms[n].code, organ.presence, side, organ.name, span, (), (organ.name,), "normal")
            for n in names
            if n in self.book.terms
        ]

    # numbers -------------------------------------------------------------------------------------------------------

    def _structures(self, made: list[Mention]) -> list[Mention]:
        """Organs that a number measures where no finding owns them: "left hippocampus 3.1 ml"."""
        out: list[Mention] = []
        if not self.quantities:
            return out
        for organ in self.organs:
            if organ.used and any(organ in m.sites for m in made):
                continue
            start = self.tokens[organ.end - 1].end
            if any(
                0 <= q.span[0] - start < 40 or 0 <= self.tokens[organ.start].start - q.span[1] < 25
                for q in self.quantities
            ):
                if organ.used:
                    continue
                item = Mention("structure", _organ(organ), organ.start, organ.end, sides=set(organ.sides))
                item.silent = organ.silent
                out.append(item)
        return out

    def _own(self, holders: list[Mention]) -> dict[int, tuple[Quantity, ...]]:
        owned: dict[int, list[Quantity]] = {}
        for quantity in self.quantities:
            place = sum(1 for t in self.tokens if t.end <= quantity.span[0])
            stop = min((h for h in self.hard if h >= place), default=len(self.words))
            before = [m for m in holders if m.end <= place]
            after = [m for m in holders if m.start >= place and (m.start < stop or not before)]
            previous = self.words[place - 1] if place else ""
            choice: Mention | None = None
            if before and (previous in OWN_BEFORE or not after or before[-1].kind == "structure"):
                choice = before[-1]
            elif after:
                choice = after[0]
            elif holders:
                choice = holders[-1]
            if choice is not None:
                owned.setdefault(id(choice), []).append(quantity)
        return {key: tuple(value) for key, value in owned.items()}

    def _byside_of(self, mention: Mention, own: tuple[Quantity, ...]) -> list[Assertion]:
        """One assertion, or one for each side where a finding lies in unlike places left and right."""
        whole = self._assertion(mention, own)
        sided = {side_of(o.sides) for o in mention.sites if o.sides}
        if len(sided) < 2 or len({_organ(o) for o in mention.sites}) < 2:
            return [whole]
        out = []
        for side in ("left", "right", "bilateral"):
            here = tuple(dict.fromkeys(_organ(o) for o in mention.sites if side_of(o.sides) == side))
            if here:
                out.append(replace(whole, side=side, site=here[0], sites=here))
        return out

    def _assertion(self, mention: Mention, own: tuple[Quantity, ...]) -> Assertion:
        span = (self.tokens[mention.start].start, self.tokens[mention.end - 1].end)
        side = side_of(mention.sides)
        sites = tuple(dict.fromkeys(_organ(o) for o in mention.sites))
        if mention.kind == "structure":
            term = self.book.organs[mention.name]
            return Assertion(term.name, term.code, "present", side, term.name, span, own, (term.name,), "structure")
        term = self.book.terms[mention.name]
        more = self.more if side == "bilateral" else None
        return Assertion(
            term.name, term.code, mention.presence, side, sites[0] if sites else None, span, own, sites, "finding", more
        )


def _organ(mention: Mention) -> str:
    return mention.name if mention.kind == "organ" else next(e.name for e in mention.also if e.kind == "organ")
