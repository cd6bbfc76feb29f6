"""Explanations of networks with gradients, on tiny random ones: completeness, roll-out by hand, the whole picture.

Slow, because a worker imports torch. Skipped without the torch extra.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending.models import Card, Setup
from attending.models.hf import pictures
from attending.models.hf_clip import HfClip
from attending.models.occlusion import hidden
from attending.records import Image, ImageFacts
from attending.tasks.explaining import explain

MISSING = [name for name in ("torch", "transformers", "captum") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the torch extra is not installed ({', '.join(MISSING)} missing)"),
]
CARD = Card("tiny", "1", "Tiny", ("Encoder", "TextEncoder"), "transformers", "MIT", intended_use="tests")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(transformers' own model, its processor, our adapter)."""
    import torch
    import torch_folders
    from transformers import AutoImageProcessor

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    with torch.enable_grad():
        model = getattr(torch_folders, request.param)(folder)
    adapter = HfClip(Setup("tiny", CARD, {p.name: p for p in Path(folder).iterdir()}, 1, "fp32"))
    yield model, AutoImageProcessor.from_pretrained(folder), adapter
    adapter.close()


@pytest.fixture
def image() -> Image:
    voxels = np.random.default_rng(4).integers(0, 900, (1, 40, 64)).astype(np.int16)
    voxels[0, 8:20, 30:42] = 2500
    return Image(ImageFacts("i1", voxels.shape, None, None, "MR"), voxels)


def score_of(model: Any, look: Any, picture: Any, direction: Any) -> float:
    import torch

    with torch.no_grad():
        out = model.get_image_features(pixel_values=look(images=picture, return_tensors="pt")["pixel_values"])
    vector = getattr(out, "pooler_output", out)[0].numpy()
    return float(vector @ direction / np.linalg.norm(vector))


def test_integrated_gradients_add_up_to_the_difference(made: Any, image: Image) -> None:
    """Completeness: the attributions sum to score(image) - score(hidden image), up to the steps of the integral."""
    model, look, adapter = made
    direction = adapter.encode_texts(["a chest film"])[0]
    square = image.voxels[:, 4:36, 20:52].copy()  # the network's own size: nothing is stretched on the way
    image = Image(ImageFacts("i1", square.shape, None, None, "MR"), square)
    heat = adapter.attribute(image, "integrated_gradients", direction)
    assert heat.shape == image.voxels.shape and heat.dtype == np.float32 and np.isfinite(heat).all()
    (_, whole), (_, covered) = pictures(image)[0], pictures(Image(image.facts, hidden(image)))[0]
    expected = score_of(model, look, whole, direction) - score_of(model, look, covered, direction)
    assert float(heat.sum()) == pytest.approx(expected, rel=0.03, abs=1e-4)


def test_rollout_is_what_the_paper_says(made: Any, image: Image) -> None:
    model, look, adapter = made
    pixels = look(images=pictures(image)[0][1], return_tensors="pt")["pixel_values"]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    layers = model.vision_model(pixel_values=pixels, output_attentions=True).attentions
    model.set_attn_implementation(before)
    tokens = layers[0].shape[-1]
    flow = np.eye(tokens)
    for layer in layers:
        flow = (0.5 * layer[0].mean(0).detach().numpy() + 0.5 * np.eye(tokens)) @ flow
    classed = tokens == 17
    row = flow[0, 1:] if classed else flow.mean(axis=0)
    heat = adapter.attribute(image, "rollout", np.zeros(24, np.float32))[0]
    part = heat[:, 12:52] if getattr(look, "do_center_crop", False) else heat
    centres = part.reshape(4, part.shape[0] // 4, 4, part.shape[1] // 4).mean(axis=(1, 3))
    # Blocks of the enlarged map keep the order and nearly the size of the patches' own numbers.
    np.testing.assert_allclose(centres.mean(), row.mean(), rtol=0.02)
    assert np.corrcoef(centres.ravel(), row)[0, 1] > 0.9


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam", "rollout"])
def test_a_phrase_is_explained(made: Any, image: Image, method: Any) -> None:
    _, _, adapter = made
    got = explain(image, adapter, "a lung mass", method)
    assert got.method == method and got.heat.shape == image.voxels.shape and np.isfinite(got.heat).all()
    assert method == "integrated_gradients" or got.heat.min() >= 0
    np.testing.assert_allclose(got.heat, explain(image, adapter, "a lung mass", method).heat, atol=1e-6)
    if method != "rollout":
        assert not np.allclose(got.heat, explain(image, adapter, "no kidney", method).heat, atol=1e-9)


def test_a_head_is_explained_through_its_encoder(made: Any, image: Image) -> None:
    """A logistic head's direction, measured by differences, is its weights."""
    import test_models_head as heads

    from attending.models.head import Head

    _, _, adapter = made
    size = adapter.encode([image]).shape[1]
    weights = heads.network(size)
    card = heads.card_for(weights, "person")
    head = Head(card, weights, adapter, heads.CODE)
    film = Image(ImageFacts("i1", image.voxels.shape, None, None, "CR", view="PA", body_part="CHEST"), image.voxels)
    got = explain(film, head, method="integrated_gradients")
    drawn = np.random.default_rng(1).normal(0, 0.3, (size, 1)).astype(np.float32)[:, 0]
    np.testing.assert_allclose(got.heat, adapter.attribute(film, "integrated_gradients", drawn), atol=2e-3)
