"""Screenshots of the demo's pages for docs/pictures: name a folder that does not exist yet, for a demo of its own.

Pictures without a stated licence, and those whose pixels were not checked for burned-in text, are greyed.
Needs Playwright (the dev extra) and Debian's Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from attending import Hospital, exporting
from attending.demo import run
from attending.records import Reading

CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1400, 1300
NAMES = {"brain-mr-slices": "brain-mr-slice", "CR": "chest-radiograph", "CT": "ct", "US": "ultrasound", "MR": "mr"}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("home", type=Path)
    options.add_argument("--to", type=Path, default=Path("docs/pictures"))
    asked = options.parse_args()
    asked.to.mkdir(parents=True, exist_ok=True)
    demo = run(asked.home, say=lambda text: print(text, file=sys.stderr), progress=lambda what, fraction: None)
    with Hospital(asked.home) as hospital, tempfile.TemporaryDirectory() as folder:
        pages: dict[str, Path] = {}
        thumbnails = {}
        for reading in demo.read:
            made = exporting.page(
                reading,
                hospital.store.images(reading),
                hospital.store.arrays(reading),
                greyed=must_be_greyed(reading),
            )
            page = Path(folder) / f"{reading.id}.html"
            page.write_bytes(made["page.html"])
            pages.setdefault(name_of(reading), page)
            thumbnails[reading.id] = made["thumbnail.png"]
        pages["index"] = Path(folder) / "index.html"
        pages["index"].write_bytes(
            exporting.index_page(
                demo.read,
                titles=demo.titles,
                thumbnails=thumbnails,
                turn=demo.turn,
                missing=tuple(demo.missing),
                caught=demo.caught,
            )
        )
        shoot(pages, asked.to)
    return 0


def must_be_greyed(reading: Reading) -> bool:
    return reading.case.use == "view" or not reading.case.pixels_checked


def name_of(reading: Reading) -> str:
    case = reading.case
    if case.modality == "MR" and case.images[0].shape[0] > 1:
        return "t1-head"
    return NAMES.get(case.source or "", NAMES.get(case.modality, case.modality.lower()))


def shoot(pages: dict[str, Path], to: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        for name, page in pages.items():
            tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            tab.goto(page.resolve().as_uri())
            tab.wait_for_timeout(300)
            tab.screenshot(path=to / f"{name}.png")
            print(to / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
