"""Numbers with units, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending.terms import quantities


def pairs(text: str) -> list[tuple[float, str]]:
    return [(q.value, q.unit) for q in quantities(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 12 mm nodule", [(12.0, "mm")]),
        ("a 1.2 cm nodule", [(12.0, "mm")]),
        ("a 3 x 4 cm mass", [(30.0, "mm"), (40.0, "mm")]),
        ("a 3x4x5 mm mass", [(3.0, "mm"), (4.0, "mm"), (5.0, "mm")]),
        ("3-4 mm nodules", [(3.0, "mm"), (4.0, "mm")]),
        ("3 to 4 mm", [(3.0, "mm"), (4.0, "mm")]),
        ("volume 1,234.5 ml", [(1234.5, "ml")]),
        ("20 cc of fluid", [(20.0, "ml")]),
        ("about -20 HU", [(-20.0, "[hnsf'U]")]),
        ("stenosis of 70%", [(70.0, "%")]),
        ("model score 0.97", [(0.97, "1")]),
        ("5mm granuloma", [(5.0, "mm")]),
    ],
)
def test_quantities(text: str, expected: list[tuple[float, str]]) -> None:
    assert [u for _, u in pairs(text)] == [u for _, u in expected]
    assert [v for v, _ in pairs(text)] == pytest.approx([v for v, _ in expected])


@pytest.mark.parametrize(
    "text",
    [
        "T12 fracture",
        "disc at L4-5",
        "the 2nd rib",
        "seen in 2014",
        "on 12/03/2014",
        "at 10:45",
        "T2 weighted",
        "C5-C6 disc",
    ],
)
def test_names_are_no_quantities(text: str) -> None:
    assert pairs(text) == []


def test_span_is_the_written_number_and_unit() -> None:
    text = "There is a 12 mm nodule."
    (q,) = quantities(text)
    assert text[q.span[0] : q.span[1]] == "12 mm" == q.written


@given(st.floats(0.01, 5000), st.integers(0, 3), st.sampled_from(["mm", "ml", "%"]))
def test_a_value_agrees_with_its_own_rounding_and_with_no_other(value: float, decimals: int, unit: str) -> None:
    (q,) = quantities(f"of {value:.{decimals}f} {unit}")
    assert q.agrees(value, unit)
    assert not q.agrees(value + 1.01 * 10.0**-decimals, unit)


def test_units_must_be_comparable() -> None:
    (q,) = quantities("12 mm")
    assert q.agrees(1.2, "cm")
    assert not q.agrees(12, "ml")
    assert not q.agrees(12, "1")
