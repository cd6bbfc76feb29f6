"""Measures and comparisons as JSON (docs/measuring.md) and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .common import note, say

if TYPE_CHECKING:
    from ..comparing import Change, Growth, Matched
    from ..followup import Compared
    from ..imaging.measure_mask import Measures
    from ..records import Code
    from ..records.measured import Measured


def code_fields(code: Code) -> dict[str, str]:
    return {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}


def measured_fields(m: Measured) -> dict[str, Any]:
    return {
        "code": code_fields(m.code),
        "derivation": code_fields(m.derivation) if m.derivation else None,
        "value": m.value,
        "unit": m.unit,
        "uncertainty": m.uncertainty,
        "ends": [list(end) for end in m.ends],
        "plane": m.plane,
        "method": m.method,
    }


def sentence(one: dict[str, Any]) -> str:
    """One measurement in words."""
    what = one["code"]["meaning"] + (f", {one['derivation']['meaning'].lower()}" if one["derivation"] else "")
    unit = {"1": "", "{voxels}": "voxels", "[hnsf'U]": "HU", "mm2": "mm²"}.get(one["unit"], one["unit"])
    doubt = f" ± {rounded(one['uncertainty'])}" if one["uncertainty"] else ""
    return f"{what}: {rounded(one['value'])}{doubt} {unit}".rstrip()


def compared_fields(found: Compared) -> dict[str, Any]:
    r = found.registered
    return {
        "study": found.study.facts.id,
        "prior": found.prior.facts.id,
        "swapped": found.pair.swapped,
        "days": found.pair.days,
        "registration": None
        if r is None
        else {
            "kind": r.kind,
            "dims": r.dims,
            "unit": r.unit,
            "matrix": [[float(v) for v in row] for row in r.matrix],
            "error": r.error,
            "overlap": r.overlap,
            "likeness_before": r.before,
            "likeness_after": r.after,
            "turned_degrees": r.turned,
        },
        "registration_refused": None
        if found.why_not is None
        else {"code": found.why_not.code, "seen": found.why_not.seen, "do": found.why_not.do},
        "difference": dict(found.difference) if found.difference else None,
        "lesions": [_lesion(m) for m in found.lesions],
        "sum_of_diameters_mm": None if found.sums is None else {"before": found.sums[0], "after": found.sums[1]},
        "size_criterion": found.criterion,
        "measurements": [
            {
                "code": code_fields(p.code),
                "of": code_fields(p.of),
                "side": p.side,
                "site": code_fields(p.site) if p.site else None,
                "unit": p.unit,
                "before": p.before,
                "after": p.value,
                "difference": p.difference,
                "percent": p.percent,
                "finding": p.finding,
                "notes": list(p.notes),
            }
            for p in found.measurements
        ],
        "presences": [
            {"code": code_fields(p.code), "side": p.side, "before": p.before, "after": p.now, "finding": p.finding}
            for p in found.presences
        ],
        "notes": list(found.notes),
    }


def _lesion(m: Matched) -> dict[str, Any]:
    return {
        "label": m.label,
        "name": m.name,
        "status": m.status,
        "after": _side(m.now),
        "before": _side(m.before),
        "shift_mm": m.shift,
        **_growth(m.growth),
        "notes": list(m.notes),
    }


def _side(found: Measures | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "voxels": found.voxels,
        "volume_ml": found.volume_ml,
        "long_axis_mm": found.long_mm,
        "short_axis_mm": found.short_mm,
        "centre": list(found.centre) if found.centre else None,
    }


def _growth(grown: Growth | None) -> dict[str, Any]:
    doubling = None
    if grown is not None and grown.doubling_days is not None:
        doubling = {"value": grown.doubling_days, "low": grown.doubling_low, "high": grown.doubling_high}
    return {"changes": [_change(c) for c in grown.changes] if grown else [], "doubling_days": doubling}


def _change(change: Change) -> dict[str, Any]:
    return {
        "code": code_fields(change.code),
        "unit": change.unit,
        "before": change.before,
        "after": change.after,
        "difference": change.difference,
        "percent": change.percent,
        "uncertainty": change.uncertainty,
        "verdict": change.verdict,
    }


def tell_compared(fields: dict[str, Any]) -> None:
    when = f", {fields['days']} days apart" if fields["days"] is not None else ""
    say(f"{fields['study']} against {fields['prior']}{when}")
    r = fields["registration"]
    if r:
        unit = r["unit"].strip("{}")
        say(f"  registered ({r['kind']}): error {r['error']:.2f} {unit}, turned {r['turned_degrees']:.1f} degrees")
    if fields["difference"]:
        d = fields["difference"]
        say(f"  images: correlation {d['correlation']:.3f}, mean absolute difference {rounded(d['mean_absolute'])}")
    for lesion in fields["lesions"]:
        side = lesion["after"] or lesion["before"]
        if lesion["status"] != "matched":
            say(f"  {lesion['name']}: {lesion['status']}, {rounded(side['long_axis_mm'] or 0.0)} mm")
        for change in lesion["changes"]:
            _tell_change(lesion["name"], change)
        if lesion["doubling_days"]:
            d = lesion["doubling_days"]
            say(f"  {lesion['name']}: volume {'doubles' if d['value'] > 0 else 'halves'} in {abs(d['value']):.0f} days")
        for text in lesion["notes"]:
            note(f"{lesion['name']}: {text}")
    if fields["size_criterion"]:
        say(f"  {fields['size_criterion']}")
    for pair in fields["measurements"]:
        side = f"{pair['side']} " if pair["side"] else ""
        share = f" ({pair['percent']:+.1f} %)" if pair["percent"] is not None else ""
        what = f"{side}{pair['of']['meaning']}, {pair['code']['meaning'].lower()}"
        say(f"  {what}: {rounded(pair['before'])} -> {rounded(pair['after'])} {pair['unit']}{share}")
    for judged in fields["presences"]:
        say(f"  {judged['code']['meaning']}: {judged['before']} -> {judged['after']}")
    for path in fields["files"]:
        say(f"  {path}")
    for text in fields["notes"]:
        note(text)


def _tell_change(name: str, change: dict[str, Any]) -> None:
    share = f" ({change['percent']:+.1f} %)" if change["percent"] is not None else ""
    doubt = f"difference {rounded(change['difference'])} ± {rounded(change['uncertainty'])} {change['unit']}"
    what = change["code"]["meaning"].lower()
    numbers = f"{rounded(change['before'])} -> {rounded(change['after'])} {change['unit']}{share}"
    say(f"  {name}: {what} {numbers}; {doubt}: {change['verdict']}")


def rounded(value: float) -> str:
    """Three figures, and no more digits than the number has meaning for."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
