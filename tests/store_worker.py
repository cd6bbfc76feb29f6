"""Run as a process and killed at a random moment: writes readings and signs them, saying what is done as it is done."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from store_records import reading, release, review, study

from attending.records import array_key
from attending.store import Store


def main(home: Path, name: str) -> None:
    n = 0
    while True:
        with Store.open(home) as store:
            for _ in range(5):
                n += 1
                id = f"{name}x{n}"
                voxels = np.full((4, 8, 8), n, np.int16)
                mask = (voxels > 0).astype(np.uint8) * (n % 200 + 1)
                facts = reading(1, id)
                facts = replace(
                    facts, case=replace(facts.case, images=(replace(facts.case.images[0], shape=(4, 8, 8)),))
                )
                store.vault_put(study(id.encode() * 1000), id, {store.instance_key(id): "0" * 64})
                pages = {"page.html": f"draft {id}".encode() * 100, "report.json": b"{}"}
                store.save_reading(
                    facts, {array_key(mask.astype(np.uint8)): mask.astype(np.uint8)}, {"i1": voxels}, pages
                )
                say("read", id)
                final = replace(facts, version=2, status="final")
                store.save_review(review(f"r{id}", id), final, {"page.html": f"final {id}".encode() * 100})
                say("signed", id)
                store.save_release(release(f"l{id}", id.encode()), id.encode())
                before = store.approved("task")
                store.set_release(
                    *(replace(b, status="retired") for b in before),
                    replace(store.release(f"l{id}"), status="approved"),
                    by="demo",
                )
                say("approved", f"l{id}")


def say(what: str, id: str) -> None:
    sys.stdout.write(f"{what} {id}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
