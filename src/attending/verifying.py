"""A published number, measured again here: what a model's card claims beside what a labelled data set says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import labelled, models
from .errors import AttendingError, LicenceRefused, ModelRefused
from .labelled import Labelled
from .models.occlusion import glance
from .records import Code, Interval, Release

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .site import Site
    from .store import Store

__all__ = ["Compared", "Figure", "Verified", "measure", "measure_head", "verify", "words_of"]

SHOTS = (5, 20, 50)
"""Labelled pictures of each class that an encoder's vectors are judged by: few, as a hospital has them."""
DRAWS = 10
FEW = 100
"""Pictures below which an interval is too wide to part a good model from a fair one; said, not refused."""
Verdict = Literal["agrees", "below", "above", "cannot_be_compared"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Figure:
    """One measured figure with its 95 % interval. of: the finding, or "" for all; n pictures."""

    metric: str
    of: str
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A claim beside the figure that it can be held against, if any. why says what the verdict rests on."""

    claim: models.Claim
    measured: Figure | None
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Verified:
    """What ``verify`` found. n pictures were measured; left_out: reason -> how many were not."""

    model: str
    version: str
    data: str
    data_version: str
    n: int
    left_out: tuple[tuple[str, int], ...]
    seen: bool
    figures: tuple[Figure, ...]
    compared: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the comparisons; "cannot_be_compared" where none could be made."""
        order: tuple[Verdict, ...] = ("below", "above", "agrees", "cannot_be_compared")
        return next((v for v in order if any(c.verdict == v for c in self.compared)), "cannot_be_compared")

    def as_dict(self) -> dict[str, Any]:
        """docs/json.md."""
        return {
            "id": self.model,
            "version": self.version,
            "data": self.data,
            "data_version": self.data_version,
            "n": self.n,
            "left_out": dict(self.left_out),
            "trained_on_it": self.seen,
            "measured": [asdict(figure) for figure in self.figures],
            "claims": [
                {
                    **asdict(c.claim),
                    "measured": None if c.measured is None else asdict(c.measured),
                    "verdict": c.verdict,
                    "why": c.why,
                }
                for c in self.compared
            ],
            "verdict": self.verdict,
            "notes": list(self.notes),
        }


def verify(id: str, data: str, site: Site, store: Store, cache: Path, progress: Progress | None = None) -> Verified:
    """Measure a model, or a head of this home (by its release's id, or "head-CODE" for the one in use).

    Raises what ``models.load`` and ``measure`` raise, and UnknownRelease for a head that is not in use.
    """
    release = next((r for r in store.releases() if r.id == id), None)
    release = release or next((r for r in store.approved() if f"head-{r.candidate.task}" == id), None)
    if release is None:
        return measure(models.load(id, site, cache, unseeing=True), data, site, cache, progress)
    from .equipment import head_of

    return measure_head(release, head_of(release, store, site, cache), data, site, store, cache)


def measure(plugin: Any, data: str, site: Site, cache: Path, progress: Progress | None = None) -> Verified:
    """Measure a loaded plugin on a pulled, labelled data set, and hold its card's claims against that.

    Raises UnknownModel and NotPulled for the data set, LicenceRefused where measuring would mean training on what may
    only be viewed, and ModelRefused where the set says nothing that the model could be measured by.
    """
    entry = labelled.data_set(data)
    codes = labelled.codes_of(entry)
    kinds = models.protocols_of(plugin)
    items = list(labelled.pictures(entry, site, cache)) if codes else []
    admitted, left_out = _admitted(plugin.card, [i for i in items if i.shows is not None], entry.id)
    notes: list[str] = []
    figures: list[Figure] = []
    if "Detector" in kinds and _shared(plugin.card, codes):
        figures += _detector(plugin, admitted, _shared(plugin.card, codes), left_out, progress)
    if "Reader" in kinds and codes:
        figures += _reader(plugin, admitted, codes, left_out, progress)
    if "Encoder" in kinds and codes and (entry.use != "view" or not figures):
        if entry.use == "view":
            raise LicenceRefused(
                f"{data} may be looked at only, and vectors are measured by a head that learns from some of it",
                "a data set whose licence allows teaching",
                "choose one that `attending data list` calls teach",
            )
        figures += _encoder(plugin, admitted, codes[0], progress)
        few = ", ".join(map(str, SHOTS))
        notes.append(
            f"vectors say nothing by themselves: a logistic head on {few} pictures a class, {DRAWS} draws each"
        )
    if not figures and (admitted or not codes or not _shared(plugin.card, codes)):
        notes.append(_nothing_to_measure(plugin.card, kinds, data, codes))
    return _judged(plugin.card, entry, figures, left_out, notes)


def measure_head(release: Release, head: Any, data: str, site: Site, store: Store, cache: Path) -> Verified:
    """The same for a release of this home, on the cases of the set that its split held out; its claims are its Scores.

    Measured twice on the same cases the figures must be the same: this proves that the weights in use are the ones that
    were scored, through the path that readings take.
    """
    from .learning.examples import HELD_OUT, group_of, in_test

    entry = labelled.data_set(data)
    key = store.secret("split")
    items = list(labelled.pictures(entry, site, cache, secret=store.secret("deidentify")))
    held = [item for item in items if in_test(group_of(item.case.facts), key, HELD_OUT)]
    admitted, left_out = _admitted(head.card, [i for i in held if i.shows is not None], entry.id)
    left_out["learned from, or kept for learning"] = len(items) - len(held)
    figures = _head(release, head, admitted)
    source = f"imported:{data}"
    where = (
        entry.id
        if tuple(release.candidate.sources) == (source,)
        else f"cases of {', '.join(release.candidate.sources)}"
    )
    scored = dict(release.scores.figures) if release.scores else {}
    claims = tuple(
        models.Claim(name, interval.value, where, f"scores of release {release.id}")
        for name, interval in scored.items()
        if name in ("auroc", "balanced_accuracy")
    )
    card = replace(head.card, claimed=claims, seen=())
    return _judged(card, entry, figures, left_out, ["measured on the cases that this home's split holds out"])


def _head(release: Release, head: Any, items: Sequence[Labelled]) -> tuple[Figure, ...]:
    """A head's figures at the operating point that its release was scored at."""
    import numpy as np

    scores = np.array([head.detect(item.image)[0].score for item in items])
    return _yes_no(items, scores, head.code, threshold=float(dict(release.candidate.card)["threshold"]))


def words_of(verified: Verified) -> list[str]:
    """For people, a line each."""
    head = f"{verified.model} {verified.version} on {verified.data} {verified.data_version}: {verified.n} pictures"
    lines = [head + "".join(f"; {count} left out: {why}" for why, count in verified.left_out)]
    if verified.seen:
        lines.append("  it was, or very likely was, trained on this set: what follows is no accuracy")
    for f in verified.figures:
        of = f" ({f.of})" if f.of else ""
        lines.append(f"  measured  {f.metric}{of} {f.value:.3f}, 95 % interval {f.low:.3f} to {f.high:.3f}, n {f.n}")
    for c in verified.compared:
        lines.append(f"  claimed   {c.claim.metric} {c.claim.value:g} on {c.claim.data} ({c.claim.source})")
        lines.append(f"  verdict   {c.verdict.replace('_', ' ')}: {c.why}")
    if not verified.compared:
        lines.append("  verdict   cannot be compared: its card names no published number")
    return [*lines, *(f"  note      {note}" for note in verified.notes)]


def _admitted(card: models.Card, items: Sequence[Labelled], data: str) -> tuple[list[Labelled], dict[str, int]]:
    """What the card admits, and how many it does not."""
    admitted = [i for i in items if models.admit(card, i.image.facts, data) is None]
    left_out = {"the card does not admit them": len(items) - len(admitted)} if len(admitted) < len(items) else {}
    return admitted, left_out


def _shared(card: models.Card, codes: Sequence[Code]) -> tuple[Code, ...]:
    known = {(code.scheme, code.value) for code in codes}
    return tuple(code for code in card.labels.values() if (code.scheme, code.value) in known)


def _detector(
    plugin: Any,
    items: Sequence[Labelled],
    codes: Sequence[Code],
    left_out: dict[str, int],
    progress: Progress | None,
) -> tuple[Figure, ...]:
    """AUROC and balanced accuracy of each shared finding; the accuracy of the highest score where there are several and
    every picture shows exactly one of them."""
    import numpy as np

    from . import metrics

    rows: list[dict[str, float]] = []
    seen: list[Labelled] = []
    for n, item in enumerate(items):
        try:
            rows.append({d.code.value: d.score for d in glance(plugin, item.image)})
            seen.append(item)
        except AttendingError as refused:
            left_out[f"refused: {type(refused).__name__}"] = left_out.get(f"refused: {type(refused).__name__}", 0) + 1
        if progress:
            progress("looking at pictures", (n + 1) / len(items))
    figures: list[Figure] = []
    wanted = {code.value for code in codes}
    one_each = len(codes) > 1 and all(len((item.shows or frozenset()) & wanted) == 1 for item in seen)
    if seen and one_each:
        right = sum(max(row, key=row.__getitem__) in (i.shows or ()) for row, i in zip(rows, seen, strict=True))
        interval = metrics.wilson(right, len(seen))
        assert interval is not None
        figures.append(_figure("accuracy", "", len(seen), interval))
    for code in codes:
        scores = np.array([row.get(code.value, 0.0) for row in rows])
        figures += _yes_no(seen, scores, code)
    if len(codes) == 1 and seen:
        present = np.array([codes[0].value in (item.shows or ()) for item in seen])
        right = int((present == (scores >= 0.5)).sum())
        interval = metrics.wilson(right, len(seen))
        assert interval is not None
        figures.insert(0, _figure("accuracy", "", len(seen), interval))
    return tuple(figures)


def _yes_no(
    items: Sequence[Labelled], scores: NDArray[np.float64], code: Code, threshold: float = 0.5
) -> tuple[Figure, ...]:
    import numpy as np

    from . import metrics

    present = np.array([int(code.value in (item.shows or ())) for item in items])
    if len(set(present.tolist())) < 2:
        return ()
    groups = [item.case.facts.patient or item.case.id for item in items]
    found = metrics.measure(present, scores, threshold=threshold, groups=groups)
    return tuple(
        _figure(name, code.meaning, len(items), found[name]) for name in ("auroc", "balanced_accuracy") if name in found
    )


def _reader(
    plugin: Any,
    items: Sequence[Labelled],
    codes: Sequence[Code],
    left_out: dict[str, int],
    progress: Progress | None,
) -> tuple[Figure, ...]:
    """The accuracy of yes and no, balanced over the two: one finding for each picture, in turn."""
    from . import metrics

    right: list[bool] = []
    for n, item in enumerate(items):
        code = codes[n % len(codes)]
        answer = plugin.answer([item.image], f"Does this image show {code.meaning}? Answer yes or no.", max_tokens=10)
        said = answer.text.strip().casefold()
        if answer.status == "answered" and said.startswith(("yes", "no")):
            right.append(said.startswith("yes") == (code.value in (item.shows or ())))
        else:
            left_out["neither yes nor no"] = left_out.get("neither yes nor no", 0) + 1
        if progress:
            progress("asking", (n + 1) / len(items))
    interval = metrics.wilson(sum(right), len(right))
    return (_figure("accuracy", "yes or no", len(right), interval),) if interval else ()


def _encoder(plugin: Any, items: Sequence[Labelled], code: Code, progress: Progress | None) -> tuple[Figure, ...]:
    """AUROC of a logistic head on few vectors, on the half of the set that no head learned from: the mean over draws,
    with the interval of the middle draw (over cases: the draws themselves vary as well)."""
    import numpy as np

    from . import metrics

    present = np.array([int(code.value in (item.shows or ())) for item in items])
    vectors = []
    for start in range(0, len(items), 64):
        vectors.append(plugin.encode([item.image for item in items[start : start + 64]]))
        if progress:
            progress("encoding", min(1.0, (start + 64) / len(items)))
    x = np.concatenate(vectors) if vectors else np.zeros((0, 1), np.float32)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(items))
    taught, tested = order[: len(order) // 2], order[len(order) // 2 :]
    figures = []
    for shots in SHOTS:
        pools = [taught[present[taught] == k] for k in (0, 1)]
        if min(len(pool) for pool in pools) < shots or len(set(present[tested].tolist())) < 2:
            continue
        scores = [
            _few(x, present, np.concatenate([rng.choice(p, shots, False) for p in pools]), tested) for _ in range(DRAWS)
        ]
        each = [metrics.auroc(present[tested], s) or 0.0 for s in scores]
        middle = int(np.argsort(each)[len(each) // 2])
        interval = metrics.measure(present[tested], scores[middle])["auroc"]
        mean = float(np.mean(each))
        shifted = Interval(mean, interval.low + mean - interval.value, min(1.0, interval.high + mean - interval.value))
        figures.append(_figure(f"auroc, {shots} shots", code.meaning, len(tested), shifted))
    return tuple(figures)


def _few(x: Any, y: Any, chosen: Any, tested: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(1):
        scaler = StandardScaler().fit(x[chosen])
        head = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(x[chosen]), y[chosen])
        return head.predict_proba(scaler.transform(x[tested]))[:, 1]


def _nothing_to_measure(card: models.Card, kinds: Sequence[str], data: str, codes: Sequence[Code]) -> str:
    what = " and ".join(kinds) or "it"
    if not codes:
        return f"{data} has no labels: nothing was measured"
    if "Detector" in kinds:
        theirs = ", ".join(code.meaning for code in codes)
        return f"{card.id} and {data} have no finding in common ({data}: {theirs}): nothing was measured"
    return f"{data} labels findings, not what a {what} gives (outlines, places or texts): nothing was measured"


def _judged(
    card: models.Card, entry: models.Entry, figures: Sequence[Figure], left_out: dict[str, int], notes: list[str]
) -> Verified:
    seen = entry.id in card.seen
    n = max((f.n for f in figures), default=0)
    if 0 < n < FEW:
        notes.append(f"{n} pictures: the interval cannot part a good model from a fair one")
    if not n and not notes:
        raise ModelRefused(
            f"no picture of {entry.id} that {card.id} admits and whose label is known",
            "a data set of the kind of image that the model's card names",
            f"see `attending models info {card.id}` and `attending data list`",
        )
    compared = tuple(_compared(claim, entry.id, figures) for claim in card.claimed)
    kept = tuple((why, count) for why, count in left_out.items() if count)
    return Verified(
        card.id, card.version, entry.id, entry.version, n, kept, seen, tuple(figures), compared, tuple(notes)
    )


def _compared(claim: models.Claim, data: str, figures: Sequence[Figure]) -> Compared:
    same = next((f for f in figures if f.metric == claim.metric), None)
    if claim.data != data:
        return Compared(claim, same, "cannot_be_compared", f"claimed on {claim.data}, measured on {data}")
    if same is None:
        return Compared(claim, None, "cannot_be_compared", f"no {claim.metric} can be measured on {data}")
    span = f"{same.low:.3f} to {same.high:.3f}"
    if same.high < claim.value:
        return Compared(claim, same, "below", f"the interval {span} lies below {claim.value:g}")
    if same.low > claim.value:
        return Compared(claim, same, "above", f"the interval {span} lies above {claim.value:g}")
    return Compared(claim, same, "agrees", f"the interval {span} holds {claim.value:g}")


def _figure(metric: str, of: str, n: int, interval: Interval) -> Figure:
    return Figure(metric, of, n, *(round(v, 6) for v in (interval.value, interval.low, interval.high)))
