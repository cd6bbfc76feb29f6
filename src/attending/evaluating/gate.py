"""The admission gate: what a candidate must show before a person may approve it. docs/learning.md argues the rules."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NotBetter, ReleaseRefused, ThinlyTested
from ..records import Candidate, Interval, Release, Scores

#: Figures that may not get worse, and the side that is worse: -1 where less is worse, 1 where more is.
WATCHED = (("auroc", -1), ("balanced_accuracy", -1), ("brier", 1))


@dataclass(frozen=True)
class Policy:
    """What the gate demands. The defaults are argued in docs/learning.md.

    min_held_out   held-out cases; site.toml's ``learning.min_held_out``.
    min_per_class  held-out cases of each class: 200 cases of which one is absent test nothing.
    floor          AUROC that the candidate's whole 95 % interval must lie above, whatever it replaces.
    margin         AUROC that a candidate may be worse than the release, at the low end of the paired 95 % interval.
    """

    min_held_out: int = 100
    min_per_class: int = 20
    floor: float = 0.6
    margin: float = 0.02


def gate(scores: Scores | None, policy: Policy | None = None, *, replaces: str | None = None) -> ReleaseRefused | None:
    """The reason why a candidate may not be approved (``str()`` of it is the words), or None where it may.

    scores    None for a candidate that was never tested.
    replaces  the release in use: scores against none, or against another, do not count.

    Refused with ThinlyTested: untested, fewer held-out cases than the site demands, or too few of a class. Refused with
    NotBetter: not above the floor; worse than the release on AUROC, balanced accuracy or Brier score (the whole paired
    interval on the bad side); not shown to be at most ``margin`` worse in AUROC; worse in a subgroup.
    """
    rules = policy or Policy()
    if scores is None or not scores.held_out:
        return ThinlyTested("the candidate was never tested", "a comparison on held-out cases", "learn it again")
    return _tested(scores, rules) or _ranks(scores, rules) or _compared(scores, rules, replaces) or _subgroups(scores)


def judged(candidate: Candidate, scores: Scores, refused: ReleaseRefused | None, previous: str | None) -> Release:
    """The Release of a tested candidate: "candidate" where it waits for a person, "refused" with why where it does not.

    previous  the release that it would replace. The release has the candidate's id.
    """
    if refused:
        return Release(candidate.id, candidate, scores, "refused", str(refused), previous)
    why = "passed the gate: " + _summary(scores)
    return Release(candidate.id, candidate, scores, "candidate", why, previous)


def _tested(scores: Scores, rules: Policy) -> ReleaseRefused | None:
    if scores.held_out < rules.min_held_out:
        return ThinlyTested(
            f"{scores.held_out} held-out cases",
            f"at least {rules.min_held_out} (learning.min_held_out of site.toml)",
            "sign or import more cases of other patients; a share of them is held out",
        )
    figures = dict(scores.figures)
    if "auroc" not in figures:
        return ThinlyTested(
            "held-out cases of one class only", "cases with and without the finding", "review cases of the other class"
        )
    absent = scores.held_out - scores.present
    if min(scores.present, absent) < rules.min_per_class:
        return ThinlyTested(
            f"{scores.present} present and {absent} absent among the held-out cases",
            f"at least {rules.min_per_class} of each",
            "review more cases of the rarer class",
        )
    return None


def _ranks(scores: Scores, rules: Policy) -> ReleaseRefused | None:
    auroc = dict(scores.figures)["auroc"]
    if auroc.low <= rules.floor:
        chance = "no better than chance" if auroc.low <= 0.5 else "too weak"
        chance = "worse than chance" if auroc.high < 0.5 else chance
        return NotBetter(
            f"the candidate is {chance}: AUROC {_words(auroc)}",
            f"an interval wholly above {rules.floor:g}",
            "look at the labels that it learned from, then learn again from more cases",
        )
    return None


def _compared(scores: Scores, rules: Policy, replaces: str | None) -> ReleaseRefused | None:
    if replaces is not None and scores.release != replaces:
        return ThinlyTested(
            "the candidate was not compared with the release in use",
            "scores of both on the same held-out cases",
            "learn again: the release has changed since",
        )
    if scores.release is None:
        return None
    difference = dict(scores.difference)
    for name, worse in WATCHED:
        i = difference[name]
        if (i.high < 0) if worse < 0 else (i.low > 0):
            return NotBetter(
                f"the candidate is worse than the release: {name} differs by {_words(i)}",
                "a paired 95 % interval that does not lie wholly on the worse side",
                "keep the release; look at what changed in the labels since",
            )
    i = difference["auroc"]
    if i.low < -rules.margin:
        return NotBetter(
            f"the candidate is not shown to be as good as the release: auroc differs by {_words(i)}",
            f"a paired 95 % interval above -{rules.margin:g}",
            "keep the release; learn again with more cases",
        )
    return None


def _subgroups(scores: Scores) -> ReleaseRefused | None:
    for name, rows in scores.subgroups:
        figures = dict(rows)
        drop = figures.get("auroc_difference")
        if drop and drop.high < 0:
            return NotBetter(
                f"the candidate is worse than the release for {name}: auroc differs by {_words(drop)}",
                "no subgroup whose whole paired interval is below 0",
                "review more cases of this subgroup, then learn again",
            )
        if figures["auroc"].low <= 0.5:
            return NotBetter(
                f"the candidate is not better than chance for {name}: AUROC {_words(figures['auroc'])}",
                "an interval above 0.5 in every subgroup with enough cases",
                "review more cases of this subgroup, then learn again",
            )
    return None


def _summary(scores: Scores) -> str:
    text = f"AUROC {_words(dict(scores.figures)['auroc'])} on {scores.held_out} held-out cases"
    if scores.release is None:
        return text + "; there is no release to compare with"
    return text + f", {_words(dict(scores.difference)['auroc'])} against the release in use"


def _words(i: Interval) -> str:
    return f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]"
