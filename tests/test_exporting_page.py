"""The page: what it says, what it may never do, and what it does in a real browser."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting_samples import HOSTILE, picture, signed, volume
from PIL import Image as Pil

from attending.exporting import Identity, caught_in, index_page, page
from attending.exporting.page import counted, moment
from attending.records import DRAFT_MARK, Edit, Finding, Image, Producer, Region

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLANTED = Identity("PLANTED^NAME", "PLANTED-ID-0001", "19500102")


def html(sample: Any, **how: Any) -> str:
    return page(*sample, **how)["page.html"].decode()


def test_three_files_and_the_page_is_light() -> None:
    for sample in (picture(), volume()):
        files = page(*sample)
        assert set(files) == {"page.html", "report.json", "thumbnail.png"}
        assert len(files["page.html"]) < 3_000_000


def test_a_large_noisy_study_still_fits_the_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 2000, (120, 512, 512)).astype(np.int16)
    assert len(page(*volume(voxels=noise))["page.html"]) < 3_000_000


def test_nothing_is_loaded_from_anywhere() -> None:
    text = html(picture())
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href|action)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_text_is_shown_not_run() -> None:
    text = html(picture())
    assert "<script>window.hacked" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;window.hacked=1" in text


def test_a_hostile_region_name_cannot_leave_the_data_block() -> None:
    reading, images, arrays = picture()
    code = replace(reading.findings[0].code, meaning=HOSTILE)
    bad = replace(reading, findings=(replace(reading.findings[0], code=code), reading.findings[1]))
    text = html((bad, images, arrays))
    assert text.count("</script>") == 2


def test_a_draft_says_so_everywhere_and_a_final_says_who() -> None:
    sample = picture()
    text = html(sample)
    assert text.count(DRAFT_MARK) == 2
    assert "DRAFT: MR" in text
    assert 'class="watermark"' in text
    final, review = signed(sample[0])
    text = html((final, *sample[1:]), review=review)
    assert "Signed by Dr Demo on 2026-01-03" in text
    assert DRAFT_MARK not in text
    assert review.signature in text


def test_identity_only_where_it_is_handed_in() -> None:
    assert "PLANTED" not in html(picture())
    text = html(picture(), identity=PLANTED)
    assert "PLANTED^NAME" in text
    assert "PLANTED-ID-0001" in text
    assert "PLANTED" not in repr(PLANTED)
    assert b"PLANTED" not in page(*picture(), identity=PLANTED)["report.json"]


def test_verdicts_are_words_and_struck_wording_is_shown_with_its_rule() -> None:
    text = html(picture())
    assert "Supported" in text
    assert "Contradicted" in text
    assert "Not verified" in text
    assert "<del>There is no glioma.</del>" in text
    assert "caught by <code>negation_agrees</code>: e2 says present." in text


def test_what_was_not_assessed_measured_and_used_is_on_the_page() -> None:
    text = html(volume())
    assert "echo-segmenter 2.0" in text
    assert "SCT 118565006" in text
    assert ">ml<" in text
    text = html(picture())
    assert "no admitted model" in text
    assert "score 0.97, not calibrated" in text
    assert "Pixels not checked for burned-in text." in text


def test_a_picture_without_a_licence_is_shown_with_a_note_and_greyed_on_request() -> None:
    sample = picture(use="view")
    assert "No licence is stated for this picture" in html(sample)
    grey = page(*sample, greyed=True)
    thumb = np.asarray(Pil.open(io.BytesIO(grey["thumbnail.png"])).convert("RGB"))
    assert len(np.unique(thumb[:15].reshape(-1, 3), axis=0)) == 1
    assert "greyed on this page" in grey["page.html"].decode()


def test_an_image_that_is_not_handed_in_is_named() -> None:
    assert "Not shown on this page: i1" in html((volume()[0], {}, {}))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 50, 40), np.uint16), ((1, 50, 40, 3), np.uint8), ((4, 30, 30), np.float32), ((30, 64, 64, 3), np.uint8)],
)
def test_any_kind_of_image_makes_a_page(shape: tuple[int, ...], dtype: Any) -> None:
    reading, _, _ = volume()
    voxels = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    facts = replace(reading.case.images[0], shape=shape, affine=None, spacing=None, axis="frame")
    bare = replace(reading, case=replace(reading.case, images=(facts,)), findings=(), label_names=())
    assert b"As acquired" in page(bare, {"i1": Image(facts, voxels)}, {})["page.html"]


def test_constant_and_not_finite_voxels_make_a_page() -> None:
    reading, _, _ = volume()
    voxels = np.full((20, 32, 40), np.nan, np.float32)
    facts = reading.case.images[0]
    bare = replace(reading, findings=(), label_names=())
    assert page(bare, {"i1": Image(facts, voxels)}, {})["page.html"]
    assert page(bare, {"i1": Image(facts, np.zeros((20, 32, 40), np.int16))}, {})["page.html"]


def test_the_patients_right_is_on_the_left_of_the_picture_whatever_the_arrays_order() -> None:
    """A bright block at the patient's right, front and top must come out left, up and late, for any axis order."""
    from attending.exporting.pictures import picture as draw

    reading, _, _ = volume()
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for signs in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1), (1, -1, 1)):
            lps = np.zeros((24, 24, 24), np.int16)  # indexed (x, y, z) along L, P, S
            lps[2:5, 3:7, 18:21] = 1000
            array = np.transpose(lps, order)
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for column, axis in enumerate(order):
                affine[axis, column] = signs[column]
                if signs[column] < 0:
                    array = np.flip(array, column)
                    affine[axis, 3] = 23
            voxels = np.ascontiguousarray(array.transpose(2, 1, 0))
            facts = replace(
                reading.case.images[0],
                shape=voxels.shape,
                affine=tuple(tuple(float(v) for v in row) for row in affine),
                spacing=(1.0, 1.0, 1.0),
            )
            inside = np.argwhere(voxels > 0)
            low, high = inside.min(0), inside.max(0)
            box = (int(low[2]), int(low[1]), int(low[0]), int(high[2]), int(high[1]), int(high[0]))
            found = Finding("f", reading.findings[0].code, "present", region=Region("box", "i1", box=box))
            drawn = draw(Image(facts, voxels), (found,), {}, 10**6)
            assert [p.name for p in drawn.planes] == ["axial", "coronal", "sagittal"]
            assert [p.letters for p in drawn.planes] == [
                ("A", "L", "P", "R"),
                ("S", "L", "I", "R"),
                ("S", "P", "I", "A"),
            ]
            for plane in drawn.planes:
                at = plane.slices[drawn.spots["f"].at[plane.name]]
                pixels = np.asarray(Pil.open(io.BytesIO(at.png)))
                rows, cols = np.nonzero(pixels > 128)
                left, top, right, bottom = drawn.spots["f"].boxes[plane.name]
                assert (cols.min() / at.width, rows.min() / at.height) == pytest.approx((left, top), abs=0.02)
                assert ((cols.max() + 1) / at.width, (rows.max() + 1) / at.height) == pytest.approx(
                    (right, bottom), abs=0.02
                )
            axial = drawn.planes[0].slices[drawn.spots["f"].at["axial"]]
            assert 18 <= axial.index <= 20


def test_anisotropic_voxels_are_drawn_with_square_millimetres() -> None:
    from attending.exporting.pictures import picture as draw

    _, images, arrays = volume()
    planes = {p.name: p for p in draw(images["i1"], (), arrays, 10**6).planes}
    s = planes["axial"].slices[0]
    assert s.width / s.height == pytest.approx(80 / 32, abs=0.15)


def test_the_index_opens_with_the_caught_sentence() -> None:
    reading = picture()[0]
    made = page(*picture())
    text = index_page(
        [reading, volume()[0]],
        titles={reading.id: "A slice"},
        pages={reading.id: "readings/x y/page.html"},
        thumbnails={reading.id: made["thumbnail.png"]},
        turn={"summary": "One turn.", "before": {"pneumonia": "not assessed"}, "after": {"pneumonia": "present"}},
        missing=["qwen could not be pulled; do: go online"],
    ).decode()
    assert text.index("<del>There is no glioma.</del>") < text.index("<h2>Studies</h2>")
    assert "<script>window.hacked" not in text
    assert 'href="readings/x%20y/page.html"' in text
    assert "One turn." in text
    assert "not assessed" in text
    assert "qwen could not be pulled" in text


def test_an_index_of_nothing_and_one_without_a_catch() -> None:
    assert caught_in([volume()[0]]) is None
    assert b"struck nothing" in index_page([volume()[0]])
    assert index_page([])


def test_an_experts_rewording_is_no_catch() -> None:
    sample = picture()
    reading = sample[0]
    edited = replace(reading.verdict.judged[0].struck[0], rule="expert", reason="reworded by the signing expert")
    judged = replace(reading.verdict.judged[0], rule="expert", struck=(edited,))
    final = replace(reading, verdict=replace(reading.verdict, judged=(judged, *reading.verdict.judged[1:])))
    assert caught_in([final]) is None
    text = html((final, *sample[1:]))
    assert "Worded by the signing expert" not in html(sample)
    assert "caught by <code>expert</code>" not in text
    assert ">Edited</span>" in text


def test_the_models_wording_is_shown_before_the_rules() -> None:
    reading = picture()[0]
    by_rules = replace(reading.verdict.judged[0].struck[0], producer=replace(reading.draft.writer, model=None))
    judged = (replace(reading.verdict.judged[1], struck=(by_rules,)), reading.verdict.judged[0])
    caught = caught_in([replace(reading, verdict=replace(reading.verdict, judged=judged))])
    assert caught is not None
    assert caught.struck.producer.model == "echo-writer"


def test_a_denial_is_not_counted_as_a_finding_of_disease() -> None:
    reading = picture()[0]
    assert counted(reading) == "1 present, 1 absent"
    assert "measured" in counted(volume()[0])
    none = replace(reading, findings=())
    assert counted(none) == "nothing was assessed"
    assert b"Findings: nothing was assessed" in index_page([none])
    assert b"Findings: 1 present (Glioma), 1 absent" in index_page([reading])


def test_a_corrected_finding_is_named_in_what_the_radiologist_changed() -> None:
    reading, images, arrays = picture()
    final, review = signed(reading)
    flipped = replace(review, edits=(Edit("finding_flipped", "f1", "present", "absent", "a rule's note"),))
    told = page(final, images, arrays, flipped)["page.html"].decode()
    assert '<code>f1</code> Glioma: <del>present</del> <ins>absent</ins> <span class="soft">(a rule&#39;s note)' in told


def test_what_a_rule_restated_is_not_called_the_experts_wording() -> None:
    reading, images, arrays = picture()
    final, review = signed(reading)
    first = final.verdict.judged[0]
    sentences = tuple(replace(s, producer=Producer()) if s.id == first.sentence else s for s in final.draft.sentences)
    verdict = replace(final.verdict, judged=(replace(first, rule="expert"), *final.verdict.judged[1:]))
    final = replace(final, draft=replace(final.draft, sentences=sentences), verdict=verdict)
    by_hand = replace(review, edits=(Edit("sentence_changed", first.sentence, "before", "after"),))
    by_rule = replace(review, edits=(Edit("sentence_changed", first.sentence, "before", "after", "restated by rule"),))
    assert b"Worded by the signing expert." in page(final, images, arrays, by_hand)["page.html"]
    assert b"Worded by the signing expert." not in page(final, images, arrays, by_rule)["page.html"]


def test_a_time_is_written_for_people() -> None:
    assert moment("2026-01-02T03:04:05+02:00") == "2026-01-02 01:04:05 UTC"
    assert moment("yesterday") == "yesterday"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install the package chromium to run the pages in a browser")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it comes with the dev extra")
    with api.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open HTML from a file; at the end, no error, no console message and no request but the file itself."""
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    trouble: list[str] = []
    tab.on("console", lambda m: trouble.append(f"{m.type}: {m.text}"))
    tab.on("pageerror", lambda e: trouble.append(str(e)))
    tab.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:")) else None)

    def visit(content: bytes) -> Any:
        (tmp_path / "page.html").write_bytes(content)
        tab.goto((tmp_path / "page.html").as_uri())
        tab.wait_for_timeout(300)
        return tab

    yield visit
    assert tab.evaluate("window.hacked") is None
    tab.close()
    assert trouble == []


def shown(tab: Any, plane: str = "") -> str:
    """The pixels of the first canvas (of one plane), as a data URI, once two looks 150 ms apart agree."""
    selector = f'[data-plane="{plane}"] canvas' if plane else "canvas"
    last = ""
    for _ in range(40):
        tab.wait_for_timeout(150)
        uri: str = tab.evaluate("s => document.querySelector(s).toDataURL()", selector)
        if uri == last:
            return uri
        last = uri
    raise AssertionError("the picture never came to rest")


def test_clicking_a_citation_hides_its_evidence_and_the_sentence_that_it_holds(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    sentence = tab.locator('[data-sentence="s2"]')
    assert sentence.locator(".text").is_visible()
    sentence.locator("button.cite").click()
    assert not sentence.locator(".text").is_visible()
    assert sentence.locator(".withdrawn").is_visible()
    assert not tab.locator('.card[data-card="e3"] > p').first.is_visible()
    assert tab.locator('[data-sentence="s1"] .text').is_visible()
    assert not tab.locator('[data-sentence="s3"] .text').is_visible()
    sentence.locator(".undo").click()
    assert sentence.locator(".text").is_visible()
    assert tab.locator('[data-sentence="s3"] .text').is_visible()


def test_the_keyboard_takes_evidence_away_and_brings_it_back(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    sentence = tab.locator('[data-sentence="s2"]')
    sentence.locator("button.cite").focus()
    tab.keyboard.press("Enter")
    assert not sentence.locator(".text").is_visible()
    tab.keyboard.press("Enter")
    assert sentence.locator(".text").is_visible()
    assert tab.evaluate("document.activeElement.classList.contains('cite')")


def test_a_hidden_gate_withdraws_what_rests_on_nothing_else(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    tab.locator('.card[data-card="e1"] .hide').click()
    assert not tab.locator('[data-sentence="s4"] .text').is_visible()
    assert tab.locator('[data-sentence="s1"] .text').is_visible()
    assert tab.locator('[data-sentence="s1"] .weak').is_visible()


def test_a_sentence_falls_with_its_finding_though_its_gate_stands(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    with_overlay = shown(tab)
    tab.locator('[data-sentence="s1"] button.cite[data-card="e2"]').click()
    assert not tab.locator('[data-sentence="s1"] .text').is_visible()
    assert shown(tab) != with_overlay
    tab.locator("#restore").click()
    tab.mouse.move(2, 2)
    assert tab.locator('[data-sentence="s1"] .text').is_visible()
    assert shown(tab) == with_overlay


def test_hiding_a_finding_hides_what_was_measured_of_it(opened: Any) -> None:
    reading, images, arrays = volume()
    from attending.records import Evidence

    more = (*reading.evidence, Evidence("x1", "finding", "Left-Thing seen", about="f1"))
    tab = opened(page(replace(reading, evidence=more), images, arrays)["page.html"])
    tab.locator('.card[data-card="x1"] .hide').click()
    assert not tab.locator('[data-sentence="s1"] .text').is_visible()
    assert tab.locator('[data-sentence="s2"] .text').is_visible()


def test_overlays_switch_fade_and_follow_the_citation(opened: Any) -> None:
    tab = opened(page(*volume())["page.html"])
    tab.mouse.move(2, 2)
    on = shown(tab, "axial")
    tab.locator("#overlays-on").uncheck()
    off = shown(tab, "axial")
    assert on != off
    tab.keyboard.press("o")
    assert shown(tab, "axial") == on
    tab.locator("#opacity").fill("10")
    assert shown(tab, "axial") not in (on, off)
    before = tab.locator('[data-plane="axial"] .where').text_content()
    tab.locator('[data-sentence="s2"] button.cite').hover()
    assert "Right-Thing" in tab.locator("#focus-text").text_content()
    assert tab.locator('[data-plane="axial"] .where').text_content() != before


def test_it_works_by_keyboard(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    tab.locator('[data-sentence="s2"] button.cite').focus()
    assert "Meningioma absent" in tab.locator("#focus-text").text_content()
    tab.keyboard.press("Enter")
    assert not tab.locator('[data-sentence="s2"] .text').is_visible()
    tab = opened(page(*volume())["page.html"])
    before = tab.locator('[data-plane="coronal"] .where').text_content()
    tab.locator('[data-plane="coronal"] .stage').focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator('[data-plane="coronal"] .where').text_content() != before


def test_the_draft_mark_stays_in_print(opened: Any) -> None:
    tab = opened(page(*picture())["page.html"])
    tab.emulate_media(media="print")
    assert tab.locator(".mark.draft").is_visible()
    assert tab.locator(".watermark").is_visible()


def test_the_index_fits_a_phone(opened: Any) -> None:
    turn = {"before": {"Test-0004.png": "pneumonia not assessed"}, "after": {"Test-0004.png": "pneumonia present"}}
    tab = opened(index_page([picture()[0], volume()[0]], turn=turn))
    tab.set_viewport_size({"width": 390, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.locator(".turn dd").first.bounding_box()["width"] > 200


def test_the_index_works_in_the_browser(opened: Any) -> None:
    tab = opened(index_page([picture()[0], volume()[0]]))
    caught = tab.locator(".caught .sentence")
    assert caught.locator("ins").is_visible()
    caught.locator('button.cite[data-card="e2"]').click()
    assert not caught.locator("ins").is_visible()
    assert not tab.locator('.card[data-card="e2"] > p').is_visible()
