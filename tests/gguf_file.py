"""A small GGUF file written by hand (version 3), so that tests need no package for it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

ALIGN = 32


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)  # a list of floats


def write(path: Path, facts: dict[str, Any], tensors: dict[str, Any]) -> Path:
    """tensors: name -> float32 array; GGUF counts its axes from the fastest one."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    head += b"".join(_text(key) + _value(value) for key, value in facts.items())
    offset, bodies = 0, b""
    for name, array in tensors.items():
        data = np.ascontiguousarray(array, np.float32).tobytes()
        shape = array.shape[::-1]
        head += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 0, offset)
        padded = data + bytes(-len(data) % ALIGN)
        offset += len(padded)
        bodies += padded
    path.write_bytes(head + bytes(-len(head) % ALIGN) + bodies)
    return path


def projector(path: Path, text_width: int, seed: int = 0) -> Path:
    """A LLaVA projector: a CLIP tower of two layers with random weights, and an MLP to ``text_width``."""
    rng = np.random.default_rng(seed)
    width, inner, side, patch, layers = 32, 64, 56, 14, 2

    def random(*shape: int) -> Any:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    facts: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.has_llava_projector": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": side,
        "clip.vision.patch_size": patch,
        "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": inner,
        "clip.vision.projection_dim": text_width,
        "clip.vision.block_count": layers,
        "clip.vision.attention.head_count": 4,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    tensors: dict[str, Any] = {
        "v.class_embd": random(width),
        "v.patch_embd.weight": random(width, 3, patch, patch),
        "v.position_embd.weight": random((side // patch) ** 2 + 1, width),
        "v.pre_ln.weight": ones,
        "v.pre_ln.bias": zeros,
        "v.post_ln.weight": ones,
        "v.post_ln.bias": zeros,
        "mm.0.weight": random(text_width, width),
        "mm.0.bias": random(text_width),
        "mm.2.weight": random(text_width, text_width) / 10,
        "mm.2.bias": random(text_width),
    }
    for layer in range(layers):
        name = f"v.blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors |= {f"{name}{part}.weight": random(width, width), f"{name}{part}.bias": zeros}
        for part in ("ln1", "ln2"):
            tensors |= {f"{name}{part}.weight": ones, f"{name}{part}.bias": zeros}
        tensors |= {f"{name}ffn_up.weight": random(inner, width), f"{name}ffn_up.bias": random(inner)}
        tensors |= {f"{name}ffn_down.weight": random(width, inner), f"{name}ffn_down.bias": zeros}
    return write(path, facts, tensors)
