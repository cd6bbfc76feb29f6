"""A hospital's own ONNX from a folder with a card: geometry kept, every mistake in the card named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import HashMismatch, LicenceRefused, NotAdmitted, PluginFailed
from attending.models.fetch import sha256_of
from attending.models.frames import frame, slide, windows
from attending.models.own import own_ids
from attending.records import Image, ImageFacts
from attending.testing import check_model

CARD = """
schema = 1
id = "ward"
version = "1"
title = "Bright things"
protocol = "{protocol}"
licence = "MIT"
intended_use = "an example"
limits = "a threshold"
modalities = ["MR"]
{more}
[model]
file = "net.onnx"
sha256 = "{sha256}"
[input]
{input}
[output]
{output}
"""
LABEL = '[[label]]\nname = "bright"\ncode = ["99EXAMPLE", "bright", "Bright thing"]\n'
BRIGHT = LABEL.replace("]]\n", "]]\nindex = 1\n")


def onnx_of(path: Path, nodes: list[tuple[Any, ...]], constants: dict[str, Any], dims: int) -> None:
    """nodes: (op, inputs, output, attributes); the graph's input is "x", its output "y", every size is open."""
    from onnx import TensorProto, helper, numpy_helper, save

    axes = ["n", "c", "z", "y", "x"][: 2 + dims] if dims == 3 else ["n", "c", "h", "w"]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [out], **attributes) for op, inputs, out, attributes in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def logits(dims: int) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Two classes: (x - 0.5) * 20 and its negative, so that the softmax is a soft threshold."""
    nodes: list[tuple[Any, ...]] = [
        ("Sub", ["x", "half"], "d", {}),
        ("Mul", ["d", "steep"], "on", {}),
        ("Neg", ["on"], "off", {}),
        ("Concat", ["off", "on"], "y", {"axis": 1}),
    ]
    return nodes, {"half": np.float32(0.5), "steep": np.float32(20)}


Make = Callable[..., Any]


@pytest.fixture
def make(home: Path) -> Make:
    def made(
        protocol: str = "Segmenter", dims: int = 2, more: str = BRIGHT, input: str = "",
        output: str = 'activation = "softmax"', nodes: Any = None, text: Callable[[str], str] = lambda t: t,
    ) -> tuple[site.Site, Path]:  # fmt: skip
        folder = home / "ward"
        folder.mkdir(parents=True, exist_ok=True)
        graph, constants = nodes or logits(dims)
        onnx_of(folder / "net.onnx", graph, constants, dims)
        # Tables of TOML end what stands before them, so labels come last.
        head, labels = ("", more) if more.startswith("[[") else (more, "")
        card = CARD.format(
            protocol=protocol, more=head, input=input, output=output, sha256=sha256_of(folder / "net.onnx")
        )
        (folder / "card.toml").write_text(text(card + labels))
        (home / "site.toml").write_text('[[folders]]\nid = "ward"\npath = "ward"\n')
        return site.load(home), folder

    return made


def head(shape: tuple[int, int, int] = (12, 20, 16), affine: Any = None) -> Image:
    """An ellipsoid of 800 in noise, off the middle on every axis."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = ((grid - np.array([0.2, -0.1, 0.3])[:, None, None, None]) ** 2).sum(axis=0) < 0.25
    voxels = np.where(inside, 800, 100).astype(np.int16)
    matrix = np.diag([1.0, 1.5, 3.0, 1.0]) if affine is None else affine
    rows = tuple(tuple(float(v) for v in row) for row in matrix)
    spacing = tuple(float(v) for v in np.linalg.norm(matrix[:3, :3], axis=0))
    return Image(ImageFacts("i1", shape, rows, spacing, "MR", view="AXIAL"), voxels)  # type: ignore[arg-type]


THREE = 'layout = "NCZYX"\nrange = "least-greatest"\n'


@pytest.mark.parametrize("dims", [2, 3])
def test_a_segmenter_finds_what_the_arithmetic_says(make: Make, tmp_path: Path, dims: int) -> None:
    settings, _ = make(
        dims=dims, input=THREE if dims == 3 else 'range = "values"\nlow = 0\nhigh = 900\nsize = [40, 32]'
    )
    plugin = models.load("ward", settings, tmp_path)
    image = head()
    found = plugin.segment(image).labels
    assert np.array_equal(found.labels > 0, image.voxels > 500)
    assert dict(found.names) == {1: "bright"}
    failed = [f"{r.name}: {r.detail}" for r in check_model(plugin) if not r.ok]
    assert failed == []


@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_masks_come_back_through_turns_flips_and_spacing(
    make: Make, tmp_path: Path, orientation: str, order: str
) -> None:
    extra = f'orientation = "{orientation}"\norder = "{order}"\nspacing_mm = [1.0, 1.0, 1.0]\nsize = [16, 16, 16]\n'
    settings, _ = make(dims=3, input=THREE + extra)
    plugin = models.load("ward", settings, tmp_path)
    turn = np.array([[0, 0, 3.0, 5], [-1.0, 0, 0, 7], [0, -1.5, 0, 9], [0, 0, 0, 1]])
    image = head(affine=turn)
    mask = plugin.segment(image).labels.labels > 0
    want = image.voxels > 500
    assert 2 * (mask & want).sum() / (mask.sum() + want.sum()) > 0.93
    assert abs(np.argwhere(mask).mean(axis=0) - np.argwhere(want).mean(axis=0)).max() < 0.2


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "RPS"])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_a_frame_keeps_every_voxel_in_its_place(orientation: Any, order: Any) -> None:
    turn = np.array([[0, 0.2, 3.0, 5], [-1.0, 0.1, 0, 7], [0.1, -1.5, 0, 9], [0, 0, 0, 1]])
    image = head(affine=turn)
    framed = frame(image, orientation=orientation, order=order)
    assert np.array_equal(framed.back(framed.array), image.voxels)
    index = (3, 4, 5)  # x, y, z of the framed array
    value = framed.array[index] if order == "xyz" else framed.array[index[::-1]]
    place = framed.affine @ np.array([*index, 1.0])
    x, y, z = np.rint(np.linalg.inv(turn) @ place)[:3].astype(int)
    assert image.voxels[z, y, x] == value
    growing = np.sign(framed.affine[:3, :3][np.abs(framed.affine[:3, :3]).argmax(axis=0), range(3)])
    assert growing.tolist() == [1 if c in "LPS" else -1 for c in orientation]


def test_windows_cover_and_sliding_changes_nothing_that_is_local() -> None:
    seen = np.zeros((17, 9, 30))
    for box in windows((17, 9, 30), (8, 8, 8), 0.5):
        seen[box] += 1
        assert seen[box].shape == (8, 8, 8)
    assert seen.min() >= 1
    array = np.random.default_rng(1).normal(size=(17, 5, 30)).astype(np.float32)
    assert np.allclose(slide(array, (8, 8, 8), lambda part: part[None] * 2), array[None] * 2, atol=1e-5)


MEAN: tuple[list[tuple[Any, ...]], dict[str, Any]] = (
    [("ReduceMean", ["x"], "m", {"axes": [1, 2, 3], "keepdims": 0}), ("Unsqueeze", ["m", "one"], "y", {})],
    {"one": np.array([1])},
)


def test_a_detector_scores_and_keeps_to_its_card(make: Make, tmp_path: Path) -> None:
    settings, _ = make("Detector", nodes=MEAN, more=LABEL, input='range = "values"\nlow = 0\nhigh = 1000', output="")
    plugin = models.load("ward", settings, tmp_path, unseeing=True)
    one = head((1, 20, 16))
    (found,) = plugin.detect(one)
    assert found.score == pytest.approx(one.voxels.mean() / 1000, abs=1e-4) and not found.calibrated
    with pytest.raises(NotAdmitted, match="its modality is CT, the card admits MR"):
        plugin.detect(Image(replace(one.facts, modality="CT"), one.voxels))


def test_an_encoder_passes_the_conformance_test(make: Make, tmp_path: Path) -> None:
    pool: tuple[list[tuple[Any, ...]], dict[str, Any]] = (
        [("AveragePool", ["x"], "p", {"kernel_shape": [8, 8], "strides": [8, 8]}), ("Flatten", ["p"], "y", {})],
        {},
    )
    settings, _ = make("Encoder", nodes=pool, more="", input="size = [32, 32]", output="")
    plugin = models.load("ward", settings, tmp_path)
    assert plugin.space == "ward/1" and plugin.encode([head()]).shape == (1, 16)
    assert [f"{r.name}: {r.detail}" for r in check_model(plugin) if not r.ok] == []


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("schema = 1", "schema = 2", "without schema = 1"),
        ('id = "ward"', 'id = "other"', "of the id 'other'"),
        ('title = "Bright things"', "", "without title"),
        ('protocol = "Segmenter"', 'protocol = "Writer"', "protocol = 'Writer', which is none of Detector"),
        ('licence = "MIT"', 'licence = "MIT"\ncolour_of_box = 1', "an unknown key 'colour_of_box'"),
        ("[input]", "[input]\nlayout = 'CHWN'", "input.layout = 'CHWN', which is none of NCHW"),
        ("[input]", "[input]\nsize = [1, 2, 3]", "input.size of 3 numbers for NCHW"),
        ("[input]", "[input]\nsize = 'big'", "input.size = 'big'"),
        ("[output]", "[output]\nmood = 1", r"\[output\] with an unknown key \['mood'\]"),
        ('file = "net.onnx"', 'file = "../net.onnx"', "a file that lies elsewhere"),
        ('file = "net.onnx"', 'file = "none.onnx"', "no file none.onnx"),
        ('file = "net.onnx"', "", "without model.file"),
        ('code = ["99EXAMPLE", "bright", "Bright thing"]', "", r"a \[\[label\]\] without name and code"),
        ("schema = 1", "schema = = 1", "no readable card.toml"),
        ("index = 1", "index = 7", "an output of shape"),
        ('modalities = ["MR"]', 'modalities = ["MR"]\nmin_matrix = 2', ""),
    ],
)
def test_a_mistake_in_the_card_is_named(make: Make, tmp_path: Path, old: str, new: str, match: str) -> None:
    settings, _ = make(text=lambda text: text.replace(old, new, 1))

    def use() -> None:
        models.load("ward", settings, tmp_path).segment(head())

    if not match:
        return use()
    with pytest.raises(PluginFailed, match=match):
        use()
    assert [s.card.id for s in models.installed(settings, tmp_path) if s.card.id in own_ids(settings)] == ["ward"]
    return None


def test_another_file_and_no_licence_are_refused(make: Make, tmp_path: Path) -> None:
    settings, folder = make()
    (folder / "net.onnx").write_bytes(b"other")
    with pytest.raises(HashMismatch, match=r"net\.onnx of ward is not the file that its card names"):
        models.load("ward", settings, tmp_path)
    settings, _ = make(text=lambda text: text.replace('licence = "MIT"', 'licence = ""'))
    with pytest.raises(LicenceRefused, match="ward of this site states no licence"):
        models.load("ward", settings, tmp_path)


def test_no_onnx_at_all_and_no_folder(make: Make, tmp_path: Path, home: Path) -> None:
    settings, folder = make()
    (folder / "net.onnx").write_text("not a network")
    sha256 = sha256_of(folder / "net.onnx")
    card = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text(
        "\n".join(f'sha256 = "{sha256}"' if line.startswith("sha") else line for line in card.split("\n"))
    )
    with pytest.raises(PluginFailed, match="no ONNX file that ONNX Runtime loads"):
        models.load("ward", settings, tmp_path).segment(head())
    (home / "site.toml").write_text('[[folders]]\nid = "ward"\npath = "nowhere"\n')
    with pytest.raises(PluginFailed, match="no folder where ward should lie"):
        models.load("ward", site.load(home), tmp_path)


def test_the_documents_say_what_every_key_of_the_tables_means() -> None:
    from dataclasses import fields

    text = (Path(__file__).parent.parent / "docs" / "own-models.md").read_text(encoding="utf-8")
    for kind in site.TABLES.values():
        for key in fields(kind):
            assert f"- `{key.name}`: {key.metadata['meaning']}" in text, f"{kind.__name__}.{key.name}"


def test_the_example_card_in_the_documents_is_one(tmp_path: Path) -> None:
    import re

    from attending.models.onnx_generic import described

    text = (Path(__file__).parent.parent / "docs" / "add-a-model.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n# models/ward-lung/card\.toml\n(.*?)```", text, re.S)
    (tmp_path / "card.toml").write_text(example)
    card, recipe = described(tmp_path, "ward-lung")
    assert card.protocols == ("Segmenter",) and recipe.size == (256, 256)
