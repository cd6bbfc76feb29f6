"""docs/learning.md and docs/signing.md say what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from attending.evaluating import Policy
from attending.evaluating.compare import MIN_SUBGROUP
from attending.evaluating.gate import WATCHED
from attending.learning.examples import HELD_OUT
from attending.learning.graph import TOLERANCE
from attending.learning.turn import MIN_PER_CLASS
from attending.records import RATING_AXES
from attending.records.reading import EditKind
from attending.reviewing.signature import message

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def learning() -> str:
    return " ".join((DOCS / "learning.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def signing() -> str:
    return " ".join((DOCS / "signing.md").read_text(encoding="utf-8").split())


def test_the_gate_s_figures_are_the_documented_ones(learning: str) -> None:
    policy = Policy()
    for text in (
        f"fewer than {policy.min_held_out} held-out cases",
        f"fewer than {policy.min_per_class} of either class",
        f"wholly above {policy.floor}",
        f"below -{policy.margin}",
        f"at least {MIN_SUBGROUP} cases of each class",
        f"about {HELD_OUT:.0%} are held out".replace("%", " %"),
        f"agree with the trained model to {TOLERANCE:.0e}".replace("e-06", "e-6"),
        f"from at least {MIN_PER_CLASS} patients",
    ):
        assert text in learning
    assert [name for name, _ in WATCHED] == ["auroc", "balanced_accuracy", "brier"]
    assert "AUROC, balanced accuracy or Brier score lies wholly on the worse side" in learning


def test_every_kind_of_edit_and_axis_is_documented(signing: str) -> None:
    for word in (*get_args(EditKind), *RATING_AXES):
        assert f"`{word}`" in signing


def test_the_signed_bytes_are_the_documented_ones(signing: str) -> None:
    shown = message("SHA256", "NAME", "TIME").decode()
    for word in ("SHA256", "NAME", "TIME"):
        shown = shown.replace(f'"{word}"', word)
    assert shown in signing


def test_the_table_of_the_closed_loop_is_filled_in(learning: str) -> None:
    assert "Verdict: " in learning and "paired seeds" in learning and "TABLE" not in learning
