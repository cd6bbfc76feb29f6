"""The page of one reading: self-contained HTML without a network, Case-only unless an identity is handed in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files as package_files
from typing import Any

from numpy.typing import NDArray

from ..records import Evidence, Finding, Image, Reading, Review
from ..version import __version__
from .identity import Identity
from .pictures import Picture, picture, thumbnail
from .public import public

BUDGET = 2_000_000
"""Bytes of PNG in one page; base64 adds a third, so that a page stays below 3 MB."""

SECTIONS = (
    ("findings", "Findings"),
    ("impression", "Impression"),
    ("quality", "Quality"),
    ("not_assessed", "Not assessed"),
)

KINDS = {
    "finding": "Finding",
    "measurement": "Measurement",
    "gate": "Gate",
    "quality": "Image quality",
    "context": "Context",
    "prior": "Prior study",
    "similar": "Similar signed case",
    "fact": "Cited fact",
    "expert": "Expert",
    "answer": "Answer of the referrer",
}

CONDITIONS = ("gate", "quality", "context")
"""Kinds of evidence under which something may be said, but which do not hold it up: a sentence falls with the rest."""

EXPERT = "expert"
"""The rule under which a signing expert's own rewording is kept."""

PLANES = {"axial": "Axial", "coronal": "Coronal", "sagittal": "Sagittal", "own": "As acquired"}

UNITS = {"1": "", "[hnsf'U]": "HU", "{score}": "", "cm3": "cm³", "mm2": "mm²", "mm3": "mm³", "ml": "ml"}


def page(
    reading: Reading,
    images: Mapping[str, Image],
    arrays: Mapping[str, NDArray[Any]],
    review: Review | None = None,
    identity: Identity | None = None,
    *,
    greyed: bool = False,
) -> dict[str, bytes]:
    """``page.html``, ``report.json`` and ``thumbnail.png`` of one reading.

    images    image id -> Image of the Case; an image that is not handed in is left out of the page and said so.
    arrays    array_key -> label map or heat map (z, y, x) on its image's grid.
    review    the signed review of a final reading.
    identity  shown at the top where given; nothing else on the page is identified.
    greyed    pictures replaced by grey, for screenshots of data that may not be copied.
    """
    pictures = _pictures(reading, images, arrays, greyed)
    names = {"page": "page.html", "report": "report.json"}
    out = {"report.json": json.dumps(public(reading, names, review), indent=1, ensure_ascii=False).encode()}
    if pictures:
        out["thumbnail.png"] = thumbnail(pictures[0])
    context = view(reading, pictures, review) | {"identity": identity, "greyed": greyed}
    out["page.html"] = render("page", context, data=_data(reading, pictures))
    return out


def render(name: str, context: Mapping[str, Any], data: Any = None) -> bytes:
    """One template of this package with its style and script inline, allowed by their hashes and nothing else."""
    style, script = text("page.css"), text("page.js") if data is not None else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        + (f"script-src '{_hash(script)}'; " if script else "")
        + "base-uri 'none'; form-action 'none'"
    )
    template = _template(name)
    html: str = template.render(
        **context, style=style, script=script, policy=policy, data=_embed(data), attending=__version__
    )
    return html.encode()


def data_uri(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


@cache
def text(name: str) -> str:
    """A data file of this package."""
    return (package_files(__package__) / name).read_text("utf-8")


@cache
def _template(name: str) -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(lambda n: text(f"{n}.html.jinja")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "unit": unit,
        "stop": stop,
        "counted": counted,
        "moment": moment,
        "plane": lambda v: v if len(v) <= 3 else v.lower(),
        "raw": Markup,
        "png": data_uri,
    }
    return environment.get_template(name)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _embed(data: Any) -> str:
    """JSON that cannot end the script element it lies in."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float | None) -> str:
    """A number as a person writes it: at most four significant digits, no exponent for usual sizes."""
    if value is None:
        return ""
    if float(value).is_integer() and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e4 else f"{value:,.1f}" if abs(value) >= 1e4 else f"{value:.2e}"


def unit(ucum: str) -> str:
    """A UCUM unit as printed."""
    return UNITS.get(ucum, ucum.replace("[", "").replace("]", ""))


def stop(words: str) -> str:
    """A phrase as a sentence: with a full stop where it has none."""
    return words if words.rstrip().endswith((".", "!", "?")) or not words.strip() else words.rstrip() + "."


def counted(reading: Reading, named: int = 0) -> str:
    """The findings by presence, in words: a denial is no finding of disease, and none at all is no normal study.

    named  up to so many present or uncertain findings are named.
    """
    groups: dict[str, list[str]] = {"present": [], "uncertain": [], "absent": [], "measured": []}
    for f in reading.findings:
        groups["measured" if _is_measured(f) else f.presence].append(f.code.meaning)
    words = [
        f"{len(names)} {word}"
        + (f" ({', '.join(names)})" if word in ("present", "uncertain") and len(names) <= named else "")
        for word, names in groups.items()
        if names
    ]
    return ", ".join(words) or ("nothing was assessed" if reading.status == "draft" else "none coded")


def _is_measured(f: Finding) -> bool:
    """A structure that is there in everybody and was measured, not a diagnosis with a score."""
    return f.presence == "present" and bool(f.measurements) and f.probability is None and f.score is None


def moment(when: str) -> str:
    """An ISO 8601 time as a person writes it, in UTC."""
    try:
        at = datetime.fromisoformat(when)
    except ValueError:
        return when
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at.tzinfo else when


def _on(reading: Reading, image: str) -> list[Finding]:
    return [f for f in reading.findings if f.region is not None and f.region.image == image]


def _pictures(
    reading: Reading, images: Mapping[str, Image], arrays: Mapping[str, NDArray[Any]], greyed: bool
) -> list[Picture]:
    there = [i.id for i in reading.case.images if i.id in images]
    share = BUDGET // max(1, len(there))
    return [picture(images[i], _on(reading, i), arrays, share, greyed) for i in there]


def units_of(reading: Reading) -> dict[str, str]:
    """Any id that a sentence may cite -> the id of the card that stands for it.

    A finding or measurement stands behind the evidence that carries it; where none does, a measurement stands behind
    its finding, and a finding behind itself.
    """
    cards = {e.id: e.id for e in reading.evidence}
    carried: dict[str, str] = {}
    for e in reading.evidence:
        if e.about:
            carried.setdefault(e.about, e.id)
    for f in reading.findings:
        cards.setdefault(f.id, carried.get(f.id, f.id))
        for m in f.measurements:
            if m.id:
                cards.setdefault(m.id, carried.get(m.id, cards[f.id]))
    return cards


def view(reading: Reading, pictures: Sequence[Picture], review: Review | None) -> dict[str, Any]:
    """What the template shows, in words; no HTML."""
    findings = {f.id: f for f in reading.findings}
    measured = {m.id: f.id for f in reading.findings for m in f.measurements if m.id}
    spots = {id: spot for p in pictures for id, spot in p.spots.items()}
    sentences = told(reading)
    cited: dict[str, list[str]] = {}
    for row in sentences:
        for card in row["rests"]:
            cited.setdefault(card, []).append(row["sentence"].id)
    used = set(cited) | {card for child, card in _parents(reading).items() if child in cited}
    evidence: list[dict[str, Any]] = []
    for e in shown_evidence(reading):
        about = findings.get(e.about or "") or findings.get(e.id) or findings.get(measured.get(e.about or "", ""))
        evidence.append(
            {
                "e": e,
                "kind": KINDS.get(e.kind, e.kind),
                "finding": about,
                "spot": spots.get(about.id) if about else None,
                "used": e.id in used,
            }
        )
    return {
        "r": reading,
        "review": review,
        "sections": [
            (key, title, [s for s in sentences if s["sentence"].section == key])
            for key, title in SECTIONS
            if any(s["sentence"].section == key for s in sentences)
        ],
        "evidence": evidence,
        "labels": {row["e"].id: row["kind"] for row in evidence},
        "measurements": [(f, m) for f in reading.findings for m in f.measurements],
        "quality": [e for e in reading.evidence if e.id in reading.quality],
        "pictures": [(p, next(i for i in reading.case.images if i.id == p.image)) for p in pictures],
        "planes": PLANES,
        "missing": [i.id for i in reading.case.images if i.id not in {p.image for p in pictures}],
        "caught": caught_by_checker(reading),
        "producers": _models(reading),
        "abstentions": [a for a in reading.verdict.abstentions if not any(n.what in a for n in reading.not_assessed)],
        "total_seconds": sum(s for _, s in reading.seconds),
    }


def caught_by_checker(reading: Reading) -> int:
    """How many wordings the checker struck; what an expert reworded at signing is no catch."""
    return sum(k.rule != EXPERT for j in reading.verdict.judged for k in j.struck)


def told(reading: Reading) -> list[dict[str, Any]]:
    """Per sentence: "rests", the cards it cites; "holds", those of them that hold it up; and how it was judged."""
    cards = units_of(reading)
    kinds = {e.id: e.kind for e in reading.evidence}
    judged = {j.sentence: j for j in reading.verdict.judged}
    rows = []
    for s in reading.draft.sentences:
        rests = list(dict.fromkeys(cards.get(i, i) for i in s.rests_on))
        holds = [card for card in rests if kinds.get(card) not in CONDITIONS] or rests
        rows.append({"sentence": s, "rests": rests, "holds": holds, "judged": judged.get(s.id)})
    return rows


def shown_evidence(reading: Reading) -> list[Evidence]:
    """The evidence, and a card for each finding that none of it carries."""
    cards = units_of(reading)
    return [*reading.evidence, *(_stand_in(f) for f in reading.findings if cards[f.id] == f.id)]


def _stand_in(f: Finding) -> Evidence:
    words = {"present": f.code.meaning, "absent": f"No {f.code.meaning}", "uncertain": f"{f.code.meaning}: uncertain"}
    return Evidence(f.id, "finding", words[f.presence], f.producer, f.probability, f.id)


def _models(reading: Reading) -> list[dict[str, Any]]:
    """Every model that took part, with its licence and the hashes of its files where the catalog knows this version."""
    from ..models import catalog

    known = {(e.id, e.version): e for e in catalog()}
    rows = []
    for model, version in sorted({(p.model, p.version or "") for p in _producers(reading) if p.model}):
        entry = known.get((model, version))
        hashes = [f.sha256 for f in entry.sources[0].files if f.sha256] if entry and entry.sources else []
        licence = entry.licence if entry else None
        rows.append({"model": model, "version": version, "licence": licence, "hashes": hashes[:4]})
    return rows


def _producers(reading: Reading) -> list[Any]:
    return (
        [f.producer for f in reading.findings]
        + [e.producer for e in reading.evidence]
        + [s.producer for s in reading.draft.sentences]
        + [k.producer for j in reading.verdict.judged for k in j.struck]
        + [reading.draft.writer]
    )


def _parents(reading: Reading) -> dict[str, str]:
    """The card of a measurement -> the card of the finding that it was measured of."""
    cards = units_of(reading)
    pairs = ((cards[m.id], cards[f.id]) for f in reading.findings for m in f.measurements if m.id)
    return {child: parent for child, parent in pairs if child != parent}


def _data(reading: Reading, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What the script needs: overlays and where each card's region lies."""
    cards = units_of(reading)
    spots: dict[str, list[dict[str, Any]]] = {}
    names = {f.id: (f"{f.site.meaning}: " if f.site else "") + f.code.meaning for f in reading.findings}
    for p in pictures:
        for id, s in p.spots.items():
            spots.setdefault(cards[id], []).append(
                {
                    "finding": id,
                    "name": names[id],
                    "image": s.image,
                    "kind": s.kind,
                    "ref": s.ref,
                    "label": s.label,
                    "at": dict(s.at),
                    "boxes": dict(s.boxes),
                }
            )
    return {
        "layers": {
            p.image: {
                plane.name: [{ref: data_uri(png) for ref, png in s.layers.items()} for s in plane.slices]
                for plane in p.planes
            }
            for p in pictures
        },
        "spots": spots,
        "parents": _parents(reading),
    }
