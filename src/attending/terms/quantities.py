"""Numbers with units in a sentence. Centimetres become millimetres, cc and litres millilitres.

Left out, because they name rather than measure: years, dates, times, ordinals ("2nd"), vertebral levels ("T12",
"L4-5"), rib and list numbers, image and series numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# unit as written -> (UCUM unit, factor). Volumes and lengths have one unit each so that values compare.
UNITS: dict[str, tuple[str, float]] = {
    "mm": ("mm", 1.0), "millimeter": ("mm", 1.0), "millimeters": ("mm", 1.0), "millimetre": ("mm", 1.0),
    "millimetres": ("mm", 1.0), "cm": ("mm", 10.0), "centimeter": ("mm", 10.0), "centimeters": ("mm", 10.0),
    "centimetre": ("mm", 10.0), "centimetres": ("mm", 10.0), "m": ("mm", 1000.0),
    "ml": ("ml", 1.0), "cc": ("ml", 1.0), "ccs": ("ml", 1.0), "milliliter": ("ml", 1.0), "milliliters": ("ml", 1.0),
    "millilitre": ("ml", 1.0), "millilitres": ("ml", 1.0), "cm3": ("ml", 1.0), "cm³": ("ml", 1.0), "cm^3": ("ml", 1.0),
    "mm3": ("ml", 0.001), "mm³": ("ml", 0.001), "mm^3": ("ml", 0.001), "l": ("ml", 1000.0), "liter": ("ml", 1000.0),
    "liters": ("ml", 1000.0), "litre": ("ml", 1000.0), "litres": ("ml", 1000.0), "dl": ("ml", 100.0),
    "cubic millimeters": ("ml", 0.001), "cubic millimetres": ("ml", 0.001), "cubic mm": ("ml", 0.001),
    "cubic centimeters": ("ml", 1.0), "cubic centimetres": ("ml", 1.0), "cubic cm": ("ml", 1.0), "mls": ("ml", 1.0),
    "hu": ("[hnsf'U]", 1.0), "hounsfield": ("[hnsf'U]", 1.0), "hounsfield units": ("[hnsf'U]", 1.0),
    "hounsfield unit": ("[hnsf'U]", 1.0), "%": ("%", 1.0), "percent": ("%", 1.0), "per cent": ("%", 1.0),
    "degrees": ("deg", 1.0), "degree": ("deg", 1.0), "°": ("deg", 1.0), "mm2": ("mm2", 1.0), "mm²": ("mm2", 1.0),
    "cm2": ("mm2", 100.0), "cm²": ("mm2", 100.0), "ms": ("ms", 1.0), "msec": ("ms", 1.0), "kg": ("kg", 1.0),
    "mg": ("mg", 1.0), "g": ("g", 1.0), "µm": ("um", 1.0), "um": ("um", 1.0), "inch": ("mm", 25.4),
    "inches": ("mm", 25.4), "dpi": ("dpi", 1.0), "tesla": ("T", 1.0), "kv": ("kV", 1.0), "kvp": ("kV", 1.0),
    "years": ("a", 1.0), "year": ("a", 1.0), "months": ("mo", 1.0), "month": ("mo", 1.0), "weeks": ("wk", 1.0),
    "week": ("wk", 1.0), "days": ("d", 1.0), "day": ("d", 1.0), "hours": ("h", 1.0), "hour": ("h", 1.0),
}  # fmt: skip
_NUMBER = r"[-−]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-−]?\d+(?:\.\d+)?|[-−]?\.\d+"
_UNIT = "|".join(sorted((re.escape(u) for u in UNITS), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?<![\w.])(?P<n>{_NUMBER})(?P<ord>st|nd|rd|th)?(?:\s*-?\s*(?P<u>{_UNIT})(?![\w]))?"
    rf"|(?<=[xX×])(?P<n2>\d+(?:\.\d+)?)(?:\s*-?\s*(?P<u2>{_UNIT})(?![\w]))?",
    re.IGNORECASE,
)
_JOIN = re.compile(r"^\s*(?:mm|cm|ml)?\s*(?:x|X|×|by|to|-|–|and|or)\s*$", re.IGNORECASE)
_NAMES = re.compile(
    r"\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}|\d{1,2}:\d{2}(?::\d{2})?|\b\d{1,2}/\d{1,4}\b"
    r"|\b[CTLS]\s?-?\d{1,2}(?:\s?(?:-|–|/|to|through|and)\s?[CTLS]?-?\d{1,2})?\b"
    r"|\b\d+(?:st|nd|rd|th)\b"
    r"|\b(?:series|image|images|slice|level|grade|stage|type|rib|ribs|rib fractures?|zone|segment|segments"
    r"|figure|page|item|no\.|#"
    r"|bi-?rads|li-?rads|ti-?rads|pi-?rads|fleischner|category|version|release|model|layer|digit|phase)"
    r"\s*#?\s*\d+(?:\s?(?:-|–|/|to|through|and|,)\s?\d+)*\b"
    r"|\b\d{1,2}\s?(?:o['’]?\s?clock|:00)|\b(?:vertebra|mri|ct|station|lobe|couinaud|level|gleason|ecog|tnm)\s+\d+\b"
    r"|\b\d+-(?:view|class|way|axis|dimensional|d)\b|\bT[12]\b|\b\d+-?D\b|\b[a-z]\w*\d\w*\b|\b\d+[a-z]{3,}\w*\b"
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\s+\d{1,2}\b",
    re.IGNORECASE,
)

_HEADED = re.compile(r"(?:\bin |\()(ml|mm|cm|cc|HU)\)?\s*:", re.IGNORECASE)
_CENTILE = re.compile(r"\s*(?:per)?centile\b", re.IGNORECASE)
_MINUS = re.compile(r"\b(?:minus|negative)\s$", re.IGNORECASE)

# The number of the next item, left behind where a list was cut into sentences: "The lungs are clear. 2."
_LIST_END = re.compile(
    r"\b(?:clear|normal|disease|abnormality|process|limits|identified|seen|noted)\.?\s*\d{1,2}\.?\s*$"
)


@dataclass(frozen=True)
class Quantity:
    """One number. unit is UCUM ("1" where none is written); value is in that unit.

    tolerance  half a unit of the last digit written, in the same unit: what rounding as written may hide.
    span       character places (start, end) in the sentence.
    """

    value: float
    unit: str
    span: tuple[int, int]
    tolerance: float = 0.0
    written: str = ""

    @property
    def number(self) -> str:
        """The number alone as written, without its unit."""
        match = re.match(r"[-−]?[\d,.]+", self.written)
        return match.group().replace(",", "").replace("−", "-").rstrip(".") if match else ""

    def agrees(self, value: float, unit: str) -> bool:
        """Does a cited value, rounded as this number is written, give this number? Units must be comparable."""
        known = UNITS.get(unit.lower(), (unit, 1.0))
        off = abs(self.value - value * known[1])
        if self.tolerance >= 5 and self.unit == "mm" and off > 0.07 * abs(value * known[1]):
            return False  # whole centimetres are too coarse for what is small
        return same_unit(self.unit, known[0]) and off <= self.tolerance * (1 + 1e-9)


def same_unit(one: str, other: str) -> bool:
    """UCUM spellings of one unit; a number without a unit is a ratio, count or score ("1")."""

    def plain(unit: str) -> str:
        return "1" if unit in {"", "1", "{score}", "{ratio}", "{count}"} or unit.startswith("{") else unit

    return plain(one) == plain(other)


def quantities(text: str) -> tuple[Quantity, ...]:
    """Every quantity of a sentence in order. "3 x 4 cm" and "3-4 mm" give two in the shared unit."""
    named = [m.span() for m in _NAMES.finditer(text)]
    found: list[tuple[float, float, str | None, tuple[int, int]]] = []
    for match in _QUANTITY.finditer(text):
        digits = match.group("n") or match.group("n2")
        unit = (match.group("u") or match.group("u2") or "").lower() or None
        start, end = match.span()
        centile = match.group("ord") and _CENTILE.match(text, end)
        if not centile and (match.group("ord") or (unit is None and _inside(start, end, named))):
            continue
        number = digits.replace(",", "").replace("−", "-")
        if _MINUS.search(text[:start]):
            number = f"-{number}"
        if unit is None and (_year(number) or _list_mark(text, start, end)):
            continue
        decimals = len(number.partition(".")[2])
        found.append((float(number), 0.5 * 10.0**-decimals, unit, (start, end)))
    head = _HEADED.search(text)
    out: list[Quantity] = []
    for at, (value, tolerance, unit, span) in enumerate(found):
        borrowed = unit
        if unit is None and at + 1 < len(found) and _JOIN.match(text[span[1] : found[at + 1][3][0]]):
            later = next((f[2] for f in found[at + 1 : at + 3] if f[2]), None)
            borrowed = later
        if unit is None and borrowed is None and head is not None and span[0] > head.end():
            borrowed = head.group(1).lower()
        ucum, factor = UNITS[borrowed] if borrowed else ("1", 1.0)
        out.append(Quantity(value * factor, ucum, span, tolerance * factor, text[span[0] : span[1]]))
    return tuple(out)


def _inside(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(a < end and start < b for a, b in spans)


def _year(number: str) -> bool:
    return len(number) == 4 and number.isdigit() and 1900 <= int(number) <= 2100


def _list_mark(text: str, start: int, end: int) -> bool:
    lead = text[:start].rstrip()
    if (
        lead
        and text[end:].strip() in {"", "."}
        and (lead.endswith(".") or (len(lead) > 12 and text[start:end].isdigit()))
    ):
        return lead.endswith(".") or _LIST_END.search(text) is not None
    return not lead and text[end : end + 1] in {".", ")"} and text[end + 1 : end + 2] in {" ", ""}
