"""Worker side: what a direction of an image encoder's space rests on. Loaded by ``hf_program``; imports torch, captum.

Integrated gradients (Sundararajan 2017) by captum; Grad-CAM (Selvaraju 2017) on the tokens of the last layer; attention
roll-out (Abnar and Zuidema 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEPS = 32
AT_ONCE = 8


def attribute(
    program: Any, picture: Any, method: str, image: np.ndarray, covered: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """image, covered: (y, x, 3) uint8, the second with everything hidden. direction (d,). Gives float32 (y, x)."""
    import torch

    def fed(array: np.ndarray) -> Any:
        given = program.look(images=picture(array), return_tensors="pt")["pixel_values"]
        return given.to(program.device, program.dtype)

    aim = torch.from_numpy(direction).to(program.device, program.dtype)

    def score(pixels: Any) -> Any:
        out = program.model.get_image_features(pixel_values=pixels)
        vectors = getattr(out, "pooler_output", out)
        return (vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)) @ aim

    if method == "rollout":
        heat = _rollout(program.model, fed(image))
    elif method == "grad_cam":
        heat = _grad_cam(program.model.vision_model, score, fed(image))
    else:
        from captum.attr import IntegratedGradients

        with torch.enable_grad():
            found = IntegratedGradients(score).attribute(
                fed(image), baselines=fed(covered), n_steps=STEPS, internal_batch_size=AT_ONCE
            )
        heat = found.sum(dim=1)[0]
    return _placed(heat.detach().float().cpu().numpy(), image.shape[:2], program.look)


def _grad_cam(vision: Any, score: Any, pixels: Any) -> Any:
    """relu(sum over the channels of mean gradient times value), at the tokens that enter the last layer."""
    import torch

    kept = []
    hook = vision.encoder.layers[-1].layer_norm1.register_forward_hook(lambda module, given, out: kept.append(out))
    try:
        with torch.enable_grad():
            value = score(pixels.detach().requires_grad_())
            (slope,) = torch.autograd.grad(value.sum(), kept[0])
    finally:
        hook.remove()
    values, slopes = _patches(kept[0][0]), _patches(slope[0])
    return torch.relu(values @ slopes.mean(dim=(0, 1)))


def _rollout(model: Any, pixels: Any) -> Any:
    """Attention through all layers, with the skip connections as half of each; from the class token, or the mean of
    all tokens where the encoder has none, to the patches."""
    import torch

    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        layers = model.vision_model(pixel_values=pixels, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    flow = torch.eye(layers[0].shape[-1], device=pixels.device, dtype=torch.float32)
    for attention in layers:
        mixed = attention[0].float().mean(dim=0) + torch.eye(flow.shape[0], device=flow.device)
        flow = (mixed / mixed.sum(dim=-1, keepdim=True)) @ flow
    classed = _has_class(flow.shape[0])
    row = flow[0] if classed else flow.mean(dim=0)
    return _patches(row[:, None])[..., 0]


def _has_class(tokens: int) -> bool:
    return int(round((tokens - 1) ** 0.5) ** 2) == tokens - 1


def _patches(tokens: Any) -> Any:
    """(tokens, d) -> (rows, columns, d) without the class token."""
    if _has_class(tokens.shape[0]):
        tokens = tokens[1:]
    side = round(tokens.shape[0] ** 0.5)
    return tokens.reshape(side, side, -1)


def _placed(heat: np.ndarray, shape: tuple[int, int], look: Any) -> np.ndarray:
    """The map of what the network saw, back on the whole picture: 0 where its view was cut off."""
    from PIL import Image

    rows, columns = shape
    top, left, down, across = 0.0, 0.0, float(rows), float(columns)
    size = dict(look.size)
    if "shortest_edge" in size and getattr(look, "do_center_crop", False):
        scale = size["shortest_edge"] / min(rows, columns)
        crop = dict(look.crop_size)
        down, across = min(rows, crop["height"] / scale), min(columns, crop["width"] / scale)
        top, left = (rows - down) / 2, (columns - across) / 2
    y0, x0, y1, x1 = round(top), round(left), round(top + down), round(left + across)
    out = np.zeros(shape, np.float32)
    wide = Image.fromarray(heat.astype(np.float32)).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    out[y0:y1, x0:x1] = np.asarray(wide)
    return out
