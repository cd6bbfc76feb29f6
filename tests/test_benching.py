"""Comparing what is installed: rows, refusals, the plot; and the language-inference set's rules."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from attending import benching, inferring, site
from attending.errors import UnknownModel

REPORTS = {
    1: "There is a small left pleural effusion. The heart is normal in size.",
    2: "No pneumothorax is seen. Mild cardiomegaly.",
    3: "There is consolidation in the right lower lobe. No pleural effusion is present.",
    4: "There may be a nodule in the left upper lobe. There is no acute fracture.",
    7: "There is a large right pneumothorax here today.",
    8: "There is a right pleural effusion today. No pneumothorax is seen.",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "reports.tgz"
    with tarfile.open(path, "w:gz") as packed:
        for number, text in REPORTS.items():
            data = f'<r><AbstractText Label="FINDINGS">{text}</AbstractText></r>'.encode()
            item = tarfile.TarInfo(f"ecgen/{number}.xml")
            item.size = len(data)
            packed.addfile(item, io.BytesIO(data))
    return path


def test_reports_whose_id_is_divisible_by_seven_are_never_read(archive: Path) -> None:
    assert [number for number, _ in inferring.reports(archive)] == [1, 2, 3, 4, 8]


@pytest.mark.parametrize("seed", range(8))
def test_hypotheses_keep_the_rules_of_their_labels(archive: Path, seed: int) -> None:
    from attending.terms import parse

    made = inferring.pairs(archive, 3, seed)
    assert len(made) == 3
    for pair in made:
        (said,) = parse(pair.premise)
        (asked,) = parse(pair.hypothesis)
        assert pair.report % 7
        assert said.presence != "uncertain"
        if pair.label == "neutral":
            assert asked.finding not in {a.finding for a in parse(REPORTS[pair.report])}
            continue
        assert asked.finding == said.finding
        same = (asked.presence, asked.side) == (said.presence, said.side)
        assert same == (pair.label == "entailment")


def test_the_set_is_balanced_and_the_same_for_a_seed(archive: Path) -> None:
    first = inferring.pairs(archive, 3, 1)
    assert first == inferring.pairs(archive, 3, 1)
    counts = {label: sum(p.label == label for p in first) for label in inferring.LABELS}
    assert set(counts.values()) == {1}


def test_a_model_is_measured_in_a_process_of_its_own(home: Path, cache: Path, pulled) -> None:
    pulled("pneumoniamnist")
    (row,) = benching.bench("pneumoniamnist", site.load(home), cache, ["skimage-descriptors"])
    assert row.why == ""
    assert {f["metric"] for f in row.figures} == {"auroc, 5 shots", "auroc, 20 shots", "auroc, 50 shots"}
    assert all(0.5 < f["low"] <= f["value"] <= f["high"] <= 1 for f in row.figures)
    assert row.calls >= 1000
    assert row.seconds and row.peak_mib and row.load_s
    drawn = ElementTree.fromstring(benching.plot([row], "a <title> & more"))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 3


def test_a_model_that_cannot_be_measured_is_a_row_that_says_why(home: Path, cache: Path, pulled) -> None:
    pulled("pneumoniamnist")
    (row,) = benching.bench("pneumoniamnist", site.load(home), cache, ["nobody"])
    assert "nobody" in row.why
    with pytest.raises(UnknownModel, match="no-such-set"):
        list(benching.bench("no-such-set", site.load(home), cache))


def test_a_named_model_that_is_not_measured_exits_with_one(home: Path, pulled) -> None:
    from typer.testing import CliRunner

    from attending.cli import app

    pulled("pneumoniamnist")
    asked = ["bench", "models", "--data", "pneumoniamnist", "--model", "nobody", "--home", str(home)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 1
    assert "nobody: not measured" in done.stdout
