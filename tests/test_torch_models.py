"""The adapters of transformers, each on a tiny random network, against what transformers itself says of the same input.

Slow, because a worker imports torch. Skipped without the torch extra.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending.errors import (
    ModelRefused,
    NotAdmitted,
    OutOfMemory,
    PluginFailed,
    PromptRefused,
    QuestionRefused,
    WorkerFailed,
)
from attending.models import Card, Setup
from attending.models.hf_clip import HfClip
from attending.models.hf_locate import HfLocator
from attending.models.hf_read import HfReader
from attending.models.hf_sam import HfSam
from attending.models.hf_write import HfWriter
from attending.models.sam_onnx import OnnxSam, convert
from attending.records import Image, ImageFacts, Point, Prompts, Stroke

MISSING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the torch extra is not installed ({', '.join(MISSING)} missing)"),
]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CARD = Card("tiny", "1", "Tiny", (), "transformers", "MIT", intended_use="tests", limits="random")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Setup]]:
    """(transformers' own model, the setup of its folder) by the name of a builder, built once."""
    import torch
    import torch_folders

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    kept: dict[str, tuple[Any, Setup]] = {}

    def make(name: str) -> tuple[Any, Setup]:
        if name not in kept:
            folder = tmp_path_factory.mktemp(name)
            with torch.enable_grad():
                model = getattr(torch_folders, name)(folder)
            files = {p.name: p for p in folder.iterdir()}
            kept[name] = model, Setup("tiny", CARD, files, 1, "fp32")
        return kept[name]

    return make


def image(*shape: int, seed: int = 0, id: str = "i") -> Image:
    """uint8 colour where the last of four axes is 3: what reaches the network is then known to the bit."""
    voxels = np.random.default_rng(seed).integers(0, 256, shape)
    facts = ImageFacts(id, shape, None, None, "CR")
    return Image(facts, voxels.astype(np.uint8 if len(shape) == 4 else np.int16))


PICTURE = image(1, 90, 120, 3)
CLICK = Prompts(points=(Point((30, 40, 0)),))
BOX = Prompts(box=(10, 20, 0, 60, 70, 0))
CLICKS_IN_BOX = Prompts(points=(Point((30, 40, 0)), Point((80, 8, 0), False)), box=(10, 20, 0, 60, 70, 0))


def by_transformers(model: Any, folder: Path, prompts: Prompts, second: bool) -> tuple[np.ndarray, float]:
    """The mask and score of transformers' own way: its processor, its model, its post-processing."""
    import torch
    from PIL import Image as Pillow
    from transformers import SamImageProcessor, SamProcessor

    picture = Pillow.fromarray(PICTURE.voxels[0])
    side = model.config.prompt_encoder_config.image_size
    points = [[[list(map(float, p.voxel[:2])) for p in prompts.points]]] if prompts.points else None
    labels = [[[int(p.positive) for p in prompts.points]]] if prompts.points else None
    box = [[[float(v) for v in (*prompts.box[:2], *prompts.box[3:5])]]] if prompts.box else None
    several = len(prompts.points) == 1 and prompts.box is None
    if second:  # its processor needs torchvision: the same in numpy
        wide = np.asarray(picture.resize((side, side), Pillow.Resampling.BILINEAR), np.float32) / 255
        pixels = ((wide - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)[None]
        scale = torch.tensor([side / 120, side / 90])
        given = {"pixel_values": torch.tensor(pixels, dtype=torch.float32)}
        if points:
            given |= {"input_points": torch.tensor(points) * scale, "input_labels": torch.tensor(labels)}
        if box:
            given["input_boxes"] = torch.tensor(box) * scale.repeat(2)
        out = model(**given, multimask_output=several)
        masks = torch.nn.functional.interpolate(out.pred_masks[0], (90, 120), mode="bilinear", align_corners=False)[0]
    else:
        look = SamImageProcessor.from_pretrained(folder)
        given = SamProcessor(look)(
            images=picture, input_points=points, input_labels=labels, input_boxes=box, return_tensors="pt"
        )
        given = {k: v.float() if v.is_floating_point() else v for k, v in given.items()}
        sizes = given.pop("original_sizes"), given.pop("reshaped_input_sizes")
        out = model(**given, multimask_output=several)
        masks = look.post_process_masks(out.pred_masks, *sizes, binarize=False)[0][0]
    best = int(out.iou_scores[0, 0].argmax())
    return (masks[best] > 0).numpy(), float(out.iou_scores[0, 0, best].clip(0, 1))


@pytest.mark.parametrize("name", ["sam", "sam2"])
@pytest.mark.parametrize("prompts", [CLICK, BOX, CLICKS_IN_BOX], ids=["click", "box", "clicks in a box"])
def test_sam_gives_the_masks_of_transformers(made: Any, name: str, prompts: Prompts) -> None:
    model, setup = made(name)
    plugin = HfSam(setup)
    session = plugin.session(PICTURE)
    masked = session.predict(prompts)
    mask, score = by_transformers(model, setup.files["config.json"].parent, prompts, name == "sam2")
    assert 0.02 < mask.mean() < 0.98  # else equality would say little
    assert (masked.mask[0] != mask).mean() < 1e-3
    assert masked.score == pytest.approx(score, abs=1e-4)
    session.close()


def test_sam_through_onnx_gives_the_same_without_torch(made: Any, tmp_path: Path) -> None:
    model, setup = made("sam")
    convert(setup.files, tmp_path)
    plugin = OnnxSam(replace(setup, files={p.name: p for p in tmp_path.iterdir()}))
    ours = plugin.session(PICTURE)
    for prompts in (CLICK, BOX, CLICKS_IN_BOX):
        mask, score = by_transformers(model, setup.files["config.json"].parent, prompts, False)
        masked = ours.predict(prompts)
        assert (masked.mask[0] != mask).mean() < 1e-3
        assert masked.score == pytest.approx(score, abs=1e-4)
    theirs = HfSam(setup).session(PICTURE)
    lasso = Stroke(((10, 10, 0), (70, 12, 0), (40, 60, 0)), True, True)
    scribble = Stroke(tuple((i, i, 0) for i in range(10, 60)))
    earlier = np.zeros((1, 90, 120), bool)
    earlier[0, 20:50, 30:60] = True
    for prompts in (
        Prompts(strokes=(lasso,)),
        Prompts(strokes=(scribble,)),
        Prompts(mask=earlier),
        Prompts(mask=earlier, points=CLICK.points),
    ):
        a, b = ours.predict(prompts), theirs.predict(prompts)
        assert (a.mask != b.mask).mean() < 1e-3
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_a_volume_is_worked_plane_by_plane_and_bad_prompts_are_named(made: Any) -> None:
    _, setup = made("sam")
    session = HfSam(setup).session(image(5, 60, 50))
    masked = session.predict(Prompts(box=(5, 5, 1, 30, 40, 2)))
    assert masked.mask.shape == (5, 60, 50)
    assert not masked.mask[[0, 3, 4]].any()
    assert masked.changed is not None and masked.changed[2] >= 1 and masked.changed[5] <= 2
    assert session.predict(Prompts(box=(5, 5, 1, 30, 40, 2))).changed is None
    for prompts, seen in (
        (Prompts(), "no prompt"),
        (Prompts(points=(Point((50, 0, 0)),)), "outside the image"),
        (Prompts(points=(Point((5, 5, 0), False),)), "negative"),
        (Prompts(text="lung"), "text"),
    ):
        with pytest.raises(PromptRefused, match=seen):
            session.predict(prompts)


def test_a_click_after_the_worker_died_costs_an_encoding_and_nothing_else(made: Any) -> None:
    _, setup = made("sam")
    plugin = HfSam(setup)
    session = plugin.session(PICTURE)
    before = session.predict(CLICK)
    plugin.close()
    after = session.predict(CLICK)
    assert (before.mask == after.mask).all() and before.score == after.score


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_vectors_of_images_and_texts_are_those_of_transformers(made: Any, name: str) -> None:
    import torch
    from PIL import Image as Pillow
    from transformers import AutoImageProcessor, AutoTokenizer

    model, setup = made(name)
    folder = setup.files["config.json"].parent
    plugin = HfClip(setup)
    texts = ["a chest film of the left lung", "no mass", "a mass . is it large ?"]
    images = [PICTURE, image(1, 40, 40, 3, seed=1)]
    pixels = AutoImageProcessor.from_pretrained(folder)(
        images=[Pillow.fromarray(i.voxels[0]) for i in images], return_tensors="pt"
    )["pixel_values"]
    wanted = model.get_image_features(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(plugin.encode(images), torch.nn.functional.normalize(wanted, dim=1), **CLOSE)
    fill = "max_length" if name == "siglip" else True
    length = model.config.text_config.max_position_embeddings
    words = AutoTokenizer.from_pretrained(folder)(
        texts, padding=fill, truncation=True, max_length=length, return_tensors="pt"
    )
    wanted = model.get_text_features(**words).pooler_output
    np.testing.assert_allclose(plugin.encode_texts(texts), torch.nn.functional.normalize(wanted, dim=1), **CLOSE)
    np.testing.assert_allclose(plugin.encode_texts(texts[:1]), plugin.encode_texts(texts)[:1], **CLOSE)
    assert plugin.encode([]).shape == (0, plugin.encode(images).shape[1])
    assert plugin.encode([image(5, 60, 50)]).shape[0] == 1
    assert plugin.space == "tiny/1"


def test_a_heat_map_is_that_of_transformers(made: Any) -> None:
    from PIL import Image as Pillow
    from transformers import AutoImageProcessor, AutoTokenizer

    model, setup = made("clipseg")
    folder = setup.files["config.json"].parent
    (found,) = HfLocator(setup).locate(PICTURE, "left lung")
    pixels = AutoImageProcessor.from_pretrained(folder)(images=Pillow.fromarray(PICTURE.voxels[0]), return_tensors="pt")
    words = AutoTokenizer.from_pretrained(folder)(["left lung"], return_tensors="pt")
    heat = model(pixel_values=pixels["pixel_values"], **words).logits.reshape(64, 64).sigmoid().numpy()
    wide = np.asarray(Pillow.fromarray(heat).resize((120, 90), Pillow.Resampling.BILINEAR))
    assert found.heatmap is not None and heat.std() > 1e-4
    np.testing.assert_allclose(found.heatmap[0], wide, rtol=1e-4, atol=1e-4)
    assert found.score == pytest.approx(float(wide.max()), abs=1e-4)


def test_boxes_are_those_of_transformers(made: Any) -> None:
    from PIL import Image as Pillow
    from transformers import AutoProcessor

    model, setup = made("grounding_dino")
    prepare = AutoProcessor.from_pretrained(setup.files["config.json"].parent)
    given = prepare(images=Pillow.fromarray(PICTURE.voxels[0]), text="left lung.", return_tensors="pt")
    wanted = prepare.post_process_grounded_object_detection(
        model(**given), given["input_ids"], threshold=0.25, text_threshold=0.25, target_sizes=[(90, 120)]
    )[0]
    found = HfLocator(setup).locate(PICTURE, " Left lung ")
    assert len(found) == len(wanted["scores"]) > 0
    best = int(wanted["scores"].argmax())
    assert found[0].score == pytest.approx(float(wanted["scores"][best]), abs=1e-4)
    x0, y0, x1, y1 = np.clip(wanted["boxes"][best].numpy(), 0, [119, 89, 119, 89])
    assert found[0].box == pytest.approx((x0, y0, 0, x1, y1, 0), abs=1)
    with pytest.raises(PromptRefused, match="0 characters"):
        HfLocator(setup).locate(PICTURE, "  ")


@pytest.mark.parametrize("name", ["llava", "blip2", "gemma3"])
def test_a_reader_answers_as_transformers_does(made: Any, name: str) -> None:
    from PIL import Image as Pillow
    from transformers import AutoProcessor

    model, setup = made(name)
    prepare = AutoProcessor.from_pretrained(setup.files["config.json"].parent)
    question = "where is the mass ?"
    if name == "blip2":
        text = f"Question: {question} Answer:"
    else:
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        chat = [{"role": "user", "content": parts}]
        text = prepare.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    plugin = HfReader(setup)
    said = []
    for picture in (PICTURE, image(1, 90, 120, 3, seed=7, id="j")):
        given = prepare(text=text, images=Pillow.fromarray(picture.voxels[0]), return_tensors="pt")
        out = model.generate(
            **given, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        new = out.sequences[0][-len(out.logits) :]
        wanted = " ".join(prepare.tokenizer.decode(new, skip_special_tokens=True).split())
        sure = np.exp(np.mean([float(s[0].log_softmax(-1)[t]) for s, t in zip(out.logits, new, strict=True)]))
        answer = plugin.answer([picture], question, max_tokens=6, timeout_s=120)
        assert answer.text == (wanted or "the model gave no answer")
        assert answer.score == pytest.approx(float(sure), rel=1e-3)
        assert answer.rests_on == (picture.id,)
        said.append(answer.score)
    assert abs(said[0] - said[1]) > 1e-7  # it looked
    with pytest.raises(QuestionRefused, match="0 characters"):
        plugin.answer([PICTURE], " ")
    other = replace(CARD, modalities=("MR",))
    with pytest.raises(NotAdmitted, match="modality is CR"):
        HfReader(replace(setup, card=other)).answer([PICTURE], question)


def test_a_writer_writes_as_transformers_does(made: Any) -> None:
    from transformers import AutoTokenizer

    model, setup = made("llama")
    words = AutoTokenizer.from_pretrained(setup.files["config.json"].parent)
    given = words("user: what is the mass ?\nassistant:", return_tensors="pt")
    given.pop("token_type_ids", None)
    out = model.generate(**given, max_new_tokens=8, do_sample=False)[0][given["input_ids"].shape[1] :]
    plugin = HfWriter(setup)
    written = plugin.write([{"role": "user", "content": "what is the mass ?"}], max_tokens=8, timeout_s=60)
    assert written.text == words.decode(out, skip_special_tokens=True)
    assert written.prompt_tokens == given["input_ids"].shape[1]
    with pytest.raises(ModelRefused, match="at most 256"):
        plugin.write([{"role": "user", "content": "mass " * 400}], timeout_s=60)
    plugin.close()
    plugin.close()


def test_the_wrong_folder_and_too_little_memory_are_named(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    _, sam = made("sam")
    with pytest.raises(PluginFailed, match="type 'sam'; allowed: type clip"):
        HfClip(sam)
    _, llama = made("llama")
    with pytest.raises(PluginFailed, match="type 'llama'"):
        HfSam(llama)
    with pytest.raises(WorkerFailed, match="could not load"):
        HfReader(llama).answer([PICTURE], "where ?", timeout_s=60)
    room = psutil.virtual_memory()._replace(available=100 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: room)
    with pytest.raises(OutOfMemory, match=r"needs about 9\d\d MiB of memory, 100 MiB are available"):
        HfWriter(replace(llama, threads=2)).write([{"role": "user", "content": "x"}])


SCHEMA = {
    "type": "object",
    "properties": {"sentence": {"type": "string", "maxLength": 40}, "side": {"enum": ["left", "right"]}},
    "required": ["sentence", "side"],
    "additionalProperties": False,
}


@pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("gguf", "accelerate")), reason="gguf and accelerate are missing"
)
def test_a_gguf_file_becomes_a_torch_model_and_keeps_to_a_schema(pulled: Callable[[str], dict[str, Path]]) -> None:
    """SmolLM2's real weights, beside llama.cpp. Its 4 bits and torch's 32 agree in the first words, not in all."""
    import json

    from attending.models.llama import LlamaWriter

    files = pulled("smollm2-135m-instruct")
    plugin = HfWriter(Setup("tiny", CARD, files, 1, "fp32"))
    messages = [{"role": "user", "content": "What is the capital of France? Answer with the name only."}]
    written = plugin.write(messages, max_tokens=12, timeout_s=300)
    other = LlamaWriter(Setup("tiny", CARD, files, 2))
    beside = other.write(messages, max_tokens=12, timeout_s=300)
    assert "Paris" in written.text and "Paris" in beside.text
    assert abs(written.prompt_tokens - beside.prompt_tokens) <= 1
    kept = plugin.write(messages, schema=SCHEMA, max_tokens=80, timeout_s=300)
    assert kept.stopped == "done" and set(json.loads(kept.text)) == {"sentence", "side"}
    short = plugin.write(messages, schema=SCHEMA, max_tokens=3, timeout_s=300)
    assert short.stopped == "length" and short.tokens == 3
    other.close()
    plugin.close()
