"""The tissue net as shipped: its weights, its contract, what a reading makes of it, and how its heads are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_tasks_find import SITE, case, why
from test_tasks_gate import head_volume

from attending import models
from attending.errors import HashMismatch
from attending.models.tissue import SHAPE, WEIGHTS, Tissue, normalise, proved
from attending.models.tissue_mix import fit, log_level
from attending.records import Image
from attending.tasks import Readers, find
from attending.testing import check_model


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Tissue:
    """Loaded by the one door from an empty cache: nothing is pulled."""
    plugin: Tissue = models.load("attending-tissue", SITE, tmp_path_factory.mktemp("empty"))
    return plugin


def volumes(net: Tissue, image: Image) -> list[float]:
    labels = net.segment(image).conformed
    assert labels is not None
    return [float((labels.labels == value).sum()) / 1000 for value in (1, 2, 3)]


def test_the_weights_are_small_and_other_bytes_are_refused(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 2_000_000 and proved(WEIGHTS)
    other = tmp_path / WEIGHTS.name
    other.write_bytes(WEIGHTS.read_bytes() + b"x")
    with pytest.raises(HashMismatch, match="not the file that was tested"):
        proved(other)


@pytest.mark.slow
def test_it_keeps_the_contract_of_every_model(net: Tissue) -> None:
    assert [f"{r.name}: {r.detail}" for r in check_model(net) if not r.ok] == []
    assert {code.value for code in net.card.labels.values()} == {"65216001", "389081007", "389080008"}


def test_labels_follow_the_image_however_it_is_stored(net: Tissue) -> None:
    """A volume stored from head to foot and from left to right gives the same tissue in the same places."""
    image = head_volume("T2")
    affine = np.array(image.affine) @ np.array([[-1, 0, 0, 89], [0, 1, 0, 0], [0, 0, -1, 99], [0, 0, 0, 1.0]])
    frozen = tuple(tuple(float(v) for v in row) for row in affine)
    turned = Image(replace(image.facts, affine=frozen), np.ascontiguousarray(image.voxels[::-1, :, ::-1]))
    first, second = net.segment(image).labels.labels, net.segment(turned).labels.labels
    assert first.shape == image.voxels.shape
    assert (first == second[::-1, :, ::-1]).mean() > 0.995


@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR"])
def test_a_drawn_head_has_a_brain_of_about_its_size_in_any_contrast(net: Tissue, contrast: str) -> None:
    csf, grey, white = volumes(net, head_volume(contrast))
    # The drawn brain: half axes of 66, 82 and 74 mm.
    assert grey + white + csf == pytest.approx(4 / 3 * np.pi * 66 * 82 * 74 / 1000, rel=0.2)
    assert min(grey, white) > 200


def test_a_head_that_is_not_t1_is_measured_and_says_how_roughly(net: Tissue) -> None:
    found = find(case(head_volume("T2")), Readers((net,)), SITE)
    assert [f.code.meaning for f in found.findings] == ["Brain", "Cerebrospinal Fluid", "Gray Matter", "White Matter"]
    assert all(f.measurements[0].value == round(f.measurements[0].value) for f in found.findings)
    told = " ".join(e.text for e in found.evidence)
    assert "Its volumes are rough: " in told and "synthetic heads only" in told
    assert "volumes of single brain regions: the sequence is T2, not T1" in why(found)


def test_a_t1_head_whose_model_is_missing_is_measured_and_names_it(net: Tissue) -> None:
    missing = ((SITE.models.head, "its files are not in the cache"),)
    found = find(case(head_volume()), Readers((net,), refused=missing), SITE)
    assert len(found.findings) == 4
    assert f"volumes of single brain regions: no admitted model: {SITE.models.head} cannot be used" in why(found)


def test_thick_slices_are_measured(net: Tissue) -> None:
    thin = head_volume("T2")
    voxels = thin.voxels[:99].reshape(33, 3, 110, 90).mean(axis=1).astype(np.int16)
    step = np.diag([2.0, 2.0, 6.0, 1.0])
    facts = replace(thin.facts, shape=voxels.shape, affine=tuple(map(tuple, step.tolist())), spacing=(2.0, 2.0, 6.0))
    found = find(case(Image(facts, voxels)), Readers((net,)), SITE)
    assert found.findings[0].code.meaning == "Brain"
    assert 800 < found.findings[0].measurements[0].value < 2000


def test_what_is_blurred_or_no_head_is_not_measured(net: Tissue) -> None:
    from scipy import ndimage

    sharp = head_volume("T2")
    soft = ndimage.gaussian_filter(sharp.voxels.astype(np.float32), 3).astype(np.int16)
    found = find(case(Image(sharp.facts, soft)), Readers((net,)), SITE)
    assert not found.findings and "the volume is blurred: nothing finer than half a centimetre" in why(found)
    knee = find(case(Image(replace(sharp.facts, body_part="KNEE"), sharp.voxels)), Readers((net,)), SITE)
    assert not knee.findings


def test_the_site_may_do_without_it(net: Tissue) -> None:
    site = replace(SITE, models=replace(SITE.models, tissue="none"))
    found = find(case(head_volume("T2")), Readers(), site)
    assert not found.findings and "brain and regional volumes: the sequence is T2, not T1" in why(found)


def test_a_fresh_machine_measures_a_t2_head(tmp_path: Path) -> None:
    """Nothing pulled, no network: the command gives tissue volumes."""
    import nibabel as nib

    image = head_volume("T2")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(image.affine)
    nib.Nifti1Image(image.voxels.transpose(2, 1, 0), affine).to_filename(tmp_path / "t2.nii.gz")
    code = "from attending.cli import main; main()"
    words = ["read", str(tmp_path / "t2.nii.gz"), "--modality", "MR", "--json", "--home", str(tmp_path / "home")]
    fresh = {**os.environ, "ATTENDING_CACHE": str(tmp_path / "cache"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=fresh)
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout.splitlines()[-1])
    measured = {f["code"]["meaning"]: f["measurements"][0]["value"] for f in read["findings"]}
    assert set(measured) == {"Brain", "Cerebrospinal Fluid", "Gray Matter", "White Matter"}
    assert 800 < measured["Brain"] < 2000
    assert {s["verdict"] for s in read["sentences"]} == {"supported"}
    assert any("synthetic heads only" in s["text"] for s in read["sentences"])


@pytest.mark.parametrize("levels", [(20.0, 90.0, 150.0), (200.0, 110.0, 70.0), (10.0, 130.0, 95.0)])
def test_the_mixture_learns_brightness_under_a_bias(levels: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    truth = (np.indices((40, 40, 40)).sum(axis=0) // 6) % 3
    bias = np.linspace(0.85, 1.15, 40)[:, None, None]
    level = log_level(np.array(levels)[truth] * bias + rng.normal(0, 3, truth.shape))
    # A prior that leans to the truth, no more.
    prior = np.stack([np.where(truth == k, 0.5, 0.25) for k in range(3)]).astype(np.float32)
    inside = np.ones(truth.shape, bool)
    mixture = fit(level, prior, inside, 3.0)
    found = mixture.weigh(level[inside], prior[:, inside], mixture.bias[inside]).argmax(axis=0)
    assert (found == truth[inside]).mean() > 0.97


def test_a_window_without_contrast_is_refused() -> None:
    from attending.errors import GeometryRefused

    with pytest.raises(GeometryRefused, match="without contrast"):
        normalise(np.zeros(SHAPE, np.float32))


def test_synthetic_heads_are_the_same_from_the_same_seed_and_all_tissues_are_in_them() -> None:
    from attending.pretraining.tissue_data import Atlas, example

    x, y, z = np.meshgrid(*(np.arange(-n, n, dtype=np.float32) for n in (90, 110, 90)), indexing="ij")
    away = np.sqrt((x / 66) ** 2 + ((y + 18) / 82) ** 2 + ((z - 6) / 74) ** 2)
    core = np.sqrt((x / 52) ** 2 + ((y + 18) / 66) ** 2 + ((z - 6) / 58) ** 2) < 1
    brain = away < 1
    wide = (away[::2, ::2, ::2] - 1) * 70
    hollow = np.sqrt(x[::2, ::2, ::2] ** 2 + (y[::2, ::2, ::2] + 18) ** 2 + z[::2, ::2, ::2] ** 2) - 15
    start = np.array([-90.0, -110.0, -90.0])
    drawn = Atlas(
        (255 * (brain & ~core)).astype(np.uint8), (255 * (brain & core)).astype(np.uint8), start, wide, hollow, start
    )
    for seed in range(3):
        images, labels = example(np.random.default_rng(seed), drawn)
        again, _ = example(np.random.default_rng(seed), drawn)
        assert images.shape == labels.shape == (2, *SHAPE) and images.dtype == np.float32
        assert np.array_equal(images, again) and 0 <= images.min() <= images.max() <= 1.5
        assert {0, 1, 2, 3} == set(np.unique(labels))
