"""A signature through the store: kept whole, verifiable after reading back, and once only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_reviewing_signature import WHEN, edited, reading, reword

from attending.errors import AlreadySigned
from attending.reviewing import imported, review, verify
from attending.store import Store


def test_a_signed_version_stands_beside_its_draft(home: Path) -> None:
    draft = reading()
    voxels = {"i1": np.zeros((1, 240, 240), np.int16)}
    with Store.open(home) as store:
        store.save_reading(draft, {}, voxels, {"report.json": b"{}"})
        document = edited(lambda d: reword(d, "s1", "A large glioma is present."))
        key = store.signing_key("demo")
        signed, final = review(draft, document, {"accuracy": 4}, by="demo", when=WHEN, key=key, seconds=30)
        store.save_review(signed, final, {"report.json": b"{}"})
        store.save_review(imported(draft.id, "393564001", 1, "toyset", WHEN))
    with Store.open(home) as store:
        kept, person = store.reading(draft.id), store.reviews(draft.id, source="person")
        assert (kept, store.reading(draft.id, 1)) == (final, draft)
        assert [verify(r, kept) for r in person] == [True]
        assert verify(person[0], kept, store.signing_key("demo").public_key().public_bytes_raw().hex())
        assert not verify(person[0], kept, store.signing_key("another").public_key().public_bytes_raw().hex())
        assert not verify(person[0], store.reading(draft.id, 1))
        assert (store.image_voxels(draft.id, "i1") == voxels["i1"]).all()
        with pytest.raises(AlreadySigned):
            review(kept, None, {}, by="demo", when=WHEN, key=key)
        again, second = review(draft, None, {}, by="demo", when="2026-02-01T00:00:00+00:00", key=key)
        with pytest.raises(AlreadySigned):
            store.save_review(again, replace(second, version=3), {})
        assert len(store.reviews(draft.id)) == 2
