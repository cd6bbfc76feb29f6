"""The story of a question: tools first, a reader only for what they cannot tell, and never on unchecked pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_answering import head
from typer.testing import CliRunner

from attending import asking
from attending.cli import app
from attending.errors import OutOfMemory
from attending.models import Card
from attending.records import DRAFT_MARK, Answer, Image
from attending.store import Store

CARD = Card("tiny-reader", "1", "Tiny", ("Reader",), "numpy", "Apache-2.0", modalities=("MR",))


class TinyReader:
    """A reader at the published seam that says the mean of what it is shown."""

    card = CARD

    def __init__(self, fails: bool = False) -> None:
        self.asked: list[str] = []
        self.fails = fails

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        self.asked.append(question)
        if self.fails:
            raise OutOfMemory("it needs 9 GiB", "what is free", "take a smaller model")
        return Answer(f"mean {np.mean([i.voxels.mean() for i in images]):.1f}", "answered")

    def close(self) -> None:
        pass


@pytest.fixture
def store(home: Path) -> Store:
    opened = Store.open(home)
    reading = head()
    opened.save_reading(reading, {}, {"i1": np.full((160, 256, 200), 7, np.uint16)}, {"page.html": b"x"})
    return opened


def test_the_reader_is_asked_only_what_the_tools_cannot_tell(store: Store) -> None:
    reader = TinyReader()
    known = asking.ask("How large is the brain?", head(), store, reader)
    assert (known.producer.model, reader.asked) == (None, [])
    looked = asking.ask("What colour is the lesion?", head(), store, reader)
    assert looked.answer.text == "mean 7.0"
    assert (looked.producer.model, looked.answer.rests_on) == ("tiny-reader", ("i1",))
    assert looked.tools.status == "cannot_tell"
    assert looked.mark == DRAFT_MARK


def test_a_reader_that_fails_or_may_not_see_the_image_leaves_the_tools_answer_with_the_reason(store: Store) -> None:
    failed = asking.ask("What colour is the lesion?", head(), store, TinyReader(fails=True))
    assert failed.answer.status == "cannot_tell"
    assert "tiny-reader: it needs 9 GiB" in failed.answer.notes
    film = TinyReader()
    film.card = replace(CARD, modalities=("CR",))
    refused = asking.ask("What colour is the lesion?", head(), store, film)
    assert any("its modality is MR" in note for note in refused.answer.notes)
    unchecked = head()
    unchecked = replace(unchecked, case=replace(unchecked.case, pixels_checked=False))
    hidden = asking.ask("What colour is the lesion?", unchecked, store, TinyReader())
    assert any("burned-in text" in note for note in hidden.answer.notes)
    assert not film.asked


def test_the_command_prints_the_contract(store: Store, home: Path) -> None:
    store.close()
    done = CliRunner().invoke(app, ["ask", "a" * 16, "How large is the brain?", "--json", "--home", str(home)])
    assert done.exit_code == 0, done.output
    out = json.loads(done.stdout)
    assert set(out) == {
        "schema", "id", "question", "status", "answer", "rests_on", "score", "producer", "notes", "mark"
    }  # fmt: skip
    assert (out["status"], out["rests_on"][0]) == ("answered", {"id": "m1", "text": "Volume 1258.1 ml"})
