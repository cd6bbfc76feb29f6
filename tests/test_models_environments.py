"""Programs in environments of their own: wiring here; with networks of random weights where the environment is.

ATTENDING_NNUNET_PYTHON, ATTENDING_NNINTERACTIVE_PYTHON and ATTENDING_XRV_PYTHON name interpreters that have nnunetv2,
nnInteractive and torchxrayvision; docs/own-models.md says how they are made. Absent, these tests skip and say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import LicenceRefused, ModelRefused, NotAdmitted, NotPulled, PluginFailed, PromptRefused
from attending.records import Image, ImageFacts, Point, Prompts, Stroke
from attending.testing import check_model

NETWORK = Path(__file__).with_name("nnunet_network.py")
AFFINE = ((-1.5, 0.0, 0.0, 11.0), (0.0, 1.5, 0.0, 3.0), (0.0, 0.0, 2.0, -40.0), (0.0, 0.0, 0.0, 1.0))


def volume(modality: str = "CT", shape: tuple[int, int, int] = (14, 22, 18)) -> Image:
    rng = np.random.default_rng(4)
    voxels = np.kron(rng.integers(-500, 900, tuple(-(-n // 4) for n in shape)), np.ones((4, 4, 4)))
    voxels = voxels[: shape[0], : shape[1], : shape[2]].astype(np.int16)
    return Image(ImageFacts("i1", shape, AFFINE, (1.5, 1.5, 2.0), modality, view="AXIAL", unit="[hnsf'U]"), voxels)


def python(variable: str, package: str) -> str:
    named = os.environ.get(variable, "")
    if not named or not Path(named).is_file():
        pytest.skip(f"no environment with {package}: set {variable} to its interpreter")
    return named


def loaded(home: Path, program: str, python: str, weights: Path, licence: str = "Apache-2.0", task: str = "") -> Any:
    home.mkdir(exist_ok=True)
    (home / "site.toml").write_text(
        f'[[environments]]\nid = "apart"\nprogram = "{program}"\npython = "{python}"\nweights = "{weights}"\n'
        f'task = "{task}"\n' + (f'licence = "{licence}"\n' if licence else "")
    )
    return models.load("apart", site.load(home), home, unseeing=True)


def dataset(folder: Path, channel: str = "CT") -> Path:
    folder.mkdir(exist_ok=True)
    labels = {"background": 0, "liver": 1, "spleen": 2}
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": channel}, "labels": labels}))
    return folder


def test_the_card_says_what_the_data_set_says(home: Path, tmp_path: Path) -> None:
    plugin = loaded(home, "totalsegmentator", sys.executable, dataset(tmp_path / "w"))
    assert plugin.card.modalities == ("CT",) and list(plugin.card.labels) == ["liver", "spleen"]
    with pytest.raises(NotAdmitted, match="its modality is MR, the card admits CT"):
        plugin.segment(volume("MR"))


def test_what_is_missing_is_told(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotPulled, match="no Python where the environment of apart should be"):
        loaded(home, "nninteractive", "/nowhere/python", tmp_path)
    with pytest.raises(PluginFailed, match=r"no readable dataset\.json in the weights of apart"):
        loaded(home, "totalsegmentator", sys.executable, tmp_path)
    with pytest.raises(LicenceRefused, match="apart of this site states no licence"):
        loaded(home, "nninteractive", sys.executable, tmp_path, licence="")


def test_an_environment_without_the_library_is_one_message(home: Path, tmp_path: Path) -> None:
    plugin = loaded(home, "totalsegmentator", sys.executable, dataset(tmp_path / "w"))
    with pytest.raises(ModelRefused, match=r"the process of apart could not load|No module named"):
        plugin.segment(volume())


def made(python: str, folder: Path, kind: str) -> Path:
    subprocess.run([python, str(NETWORK), str(folder), kind], check=True, timeout=300, capture_output=True)
    return folder


@pytest.mark.slow
def test_an_nnunet_of_random_weights_gives_its_own_answer(home: Path, tmp_path: Path) -> None:
    there = python("ATTENDING_NNUNET_PYTHON", "nnunetv2")
    weights = made(there, tmp_path / "w", "plain")
    plugin = loaded(home, "totalsegmentator", there, weights)
    image = volume()
    found = plugin.segment(image).labels
    assert found.labels.shape == image.voxels.shape and dict(found.names) == {1: "liver", 2: "spleen"}
    # The program itself on the volume as nnU-Net wants it: x to the right, y to anterior, z to superior.
    fed = tmp_path / "fed.npy"
    np.save(fed, image.voxels[:, ::-1, :].astype(np.float32))
    out = subprocess.run(
        [there, str(NETWORK), str(weights), "predict", str(fed)], check=True, timeout=300, capture_output=True
    )
    assert out.returncode == 0
    want = np.load(tmp_path / "fed.npy.out.npy")[:, ::-1, :]
    assert len(np.unique(want)) > 1
    assert np.array_equal(found.labels, want)
    plugin.close()


@pytest.mark.slow
def test_a_checkpoint_that_would_run_something_is_refused(home: Path, tmp_path: Path) -> None:
    there = python("ATTENDING_NNUNET_PYTHON", "nnunetv2")
    weights = made(there, tmp_path / "w", "plain")
    mark = tmp_path / "mark"
    hostile = (
        "import torch, pathlib, sys\n"
        "class H:\n    def __reduce__(self): return pathlib.Path.touch, (pathlib.Path(sys.argv[2]),)\n"
        "torch.save({'network_weights': H()}, sys.argv[1])"
    )
    goal = weights / "fold_0" / "checkpoint_final.pth"
    subprocess.run([there, "-c", hostile, str(goal), str(mark)], check=True, timeout=300)
    plugin = loaded(home, "totalsegmentator", there, weights)
    with pytest.raises(ModelRefused, match="holds more than weights and plain values"):
        plugin.segment(volume())
    assert not mark.exists()
    plugin.close()


@pytest.mark.slow
def test_nninteractive_of_random_weights_takes_every_prompt(home: Path, tmp_path: Path) -> None:
    there = python("ATTENDING_NNINTERACTIVE_PYTHON", "nnInteractive")
    # A network of random weights marks everything: with autozoom each prompt would be answered at three scales.
    weights = made(there, tmp_path / "w", "interactive")
    plugin = loaded(home, "nninteractive", there, weights, "CC-BY-NC-SA-4.0", task="no-autozoom")
    image = volume()
    session = plugin.session(image)
    click = Prompts(points=(Point((9, 11, 7)),))
    one = session.predict(click)
    assert one.mask.shape == image.voxels.shape
    assert np.array_equal(session.predict(click).mask, one.mask)
    line = tuple((x, 11, 7) for x in range(5, 12))
    loop = ((4, 4, 7), (12, 4, 7), (12, 14, 7), (4, 14, 7), (4, 4, 7))
    others = [
        Prompts(points=(Point((9, 11, 7)), Point((2, 2, 7), positive=False))),
        Prompts(box=(4, 5, 7, 12, 15, 7)),
        Prompts(strokes=(Stroke(line),)),
        Prompts(strokes=(Stroke(loop, closed=True),)),
        Prompts(mask=one.mask.copy(), points=(Point((9, 11, 7)),)),
    ]
    masks = [session.predict(prompts).mask for prompts in others]
    assert len({m.tobytes() for m in (one.mask, *masks)}) > 2
    with pytest.raises(PromptRefused, match="voxel 18,0,0"):
        session.predict(Prompts(points=(Point((18, 0, 0)),)))
    with pytest.raises(PromptRefused, match="no prompt"):
        session.predict(Prompts())
    with pytest.raises(PromptRefused, match="a word as a prompt"):
        session.predict(Prompts(text="liver"))
    session.close()
    session.close()
    plugin.close()


@pytest.mark.slow
def test_torchxrayvision_of_random_weights_scores_eighteen_findings(home: Path, tmp_path: Path) -> None:
    there = python("ATTENDING_XRV_PYTHON", "torchxrayvision")
    save = (
        "import torchxrayvision as x, sys\nfrom safetensors.torch import save_file\n"
        "save_file(x.models.DenseNet(weights=None, num_classes=18).state_dict(), sys.argv[1] + '/model.safetensors')"
    )
    subprocess.run([there, "-c", save, str(tmp_path)], check=True, timeout=300)
    plugin = loaded(home, "torchxrayvision", there, tmp_path)
    assert [f"{r.name}: {r.detail}" for r in check_model(plugin) if not r.ok] == []
    plugin.close()
