"""Worker program: SAM's three ONNX graphs from its safetensors, once. Run by ``worker_main``; imports torch.

setup: folder, to (where the graphs go), threads. The graphs: ``encoder.onnx`` (pixels -> embedding), ``click.onnx``
(three masks for one click) and ``refine.onnx`` (one mask for more than that).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

OPSET = 18
FILES = ("encoder.onnx", "click.onnx", "refine.onnx")


def by_heads(attention: Any) -> Any:
    """Global attention head by head: the reference holds the scores of all heads and their position terms at once,
    three matrices of 805 MB. The position terms of a key's row and column become further columns of query and key, so
    that one product gives a head's scores with them."""
    import torch

    def forward(hidden_states: Any, **_: Any) -> Any:
        rows, columns = hidden_states.shape[1:3]
        count, heads = rows * columns, attention.num_attention_heads
        qkv = attention.qkv(hidden_states).reshape(count, 3, heads, -1).permute(1, 2, 0, 3)
        row_of, column_of = torch.eye(rows).repeat_interleave(columns, 0), torch.eye(columns).repeat(rows, 1)
        row_terms = attention.get_rel_pos(rows, rows, attention.rel_pos_h)
        column_terms = attention.get_rel_pos(columns, columns, attention.rel_pos_w)
        out = []
        for head in range(heads):
            query, key, value = qkv[0, head], qkv[1, head], qkv[2, head]
            grid = query.reshape(rows, columns, -1)
            of_rows = (grid @ row_terms.transpose(1, 2)).reshape(count, rows)
            of_columns = (grid.transpose(0, 1) @ column_terms.transpose(1, 2)).transpose(0, 1).reshape(count, columns)
            wide = torch.cat([query * attention.scale, of_rows, of_columns], 1)
            scores = wide @ torch.cat([key, row_of, column_of], 1).T
            out.append(scores.softmax(-1) @ value)
        return attention.proj(torch.cat(out, 1).reshape(1, rows, columns, -1)), None

    return forward


def encoder(model: Any) -> Any:
    import torch

    for layer in model.vision_encoder.layers:
        if layer.window_size == 0 and layer.attn.use_rel_pos:
            layer.attn.forward = by_heads(layer.attn)

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.vision_encoder

        def forward(self, pixels: Any) -> Any:
            return self.inner(pixels)[0]

    return Encoder()


def decoder(model: Any, several: bool) -> Any:
    """embedding (1, c, h, w), points (n, 2), labels (n,), earlier (1, 1, low, low), given (1,) 0 or 1 -> masks, scores.

    Labels: -1 padding, 0 and 1 clicks, 2 and 3 corners of the box. The reference embeds clicks and boxes by two paths;
    one sum over all labels is the same and needs no branch in the graph.
    """
    import torch

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.prompt, self.masks = model.prompt_encoder, model.mask_decoder
            self.register_buffer("grid", model.get_image_wide_positional_embeddings().detach().clone())

        def forward(self, embedding: Any, points: Any, labels: Any, earlier: Any, given: Any) -> Any:
            prompt = self.prompt
            side = (prompt.input_image_size, prompt.input_image_size)
            at = prompt.shared_embedding((points + 0.5)[None, None], side)[0, 0]
            which = labels[:, None]
            sparse = torch.where(which == -1, torch.zeros_like(at), at)
            sparse = sparse + (which == -1) * prompt.not_a_point_embed.weight
            for label in range(4):
                sparse = sparse + (which == label) * prompt.point_embed[label].weight
            none = prompt.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = given * prompt.mask_embed(earlier) + (1 - given) * none
            masks, scores = self.masks(
                image_embeddings=embedding,
                image_positional_embeddings=self.grid,
                sparse_prompt_embeddings=sparse[None, None],
                dense_prompt_embeddings=dense,
                multimask_output=several,
            )[:2]
            return masks[0, 0], scores[0, 0]

    return Decoder()


class Program:
    """export() writes the graphs."""

    def __init__(self, setup: dict[str, Any]) -> None:
        import torch
        from transformers import SamModel

        torch.set_num_threads(int(setup.get("threads", 2)))
        self.to = Path(setup["to"])
        self.model = SamModel.from_pretrained(
            setup["folder"], local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        ).eval()

    def export(self) -> dict[str, Any]:
        import torch

        config = self.model.config.vision_config
        side, patch = int(config.image_size), int(config.patch_size)
        pixels = torch.zeros(1, 3, side, side)
        embedding = torch.zeros(1, int(config.output_channels), side // patch, side // patch)
        low = 4 * side // patch
        prompts = (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), torch.zeros(1, 1, low, low), torch.zeros(1))
        names = ["embedding", "points", "labels", "earlier", "given"]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every size that is a constant here
            common = {"opset_version": OPSET, "dynamo": False}
            torch.onnx.export(
                encoder(self.model), (pixels,), str(self.to / FILES[0]), input_names=["pixels"],
                output_names=["embedding"], **common,
            )  # fmt: skip
            for name, several in ((FILES[1], True), (FILES[2], False)):
                torch.onnx.export(
                    decoder(self.model, several).eval(), (embedding, *prompts), str(self.to / name), input_names=names,
                    output_names=["masks", "scores"], dynamic_axes={"points": {0: "n"}, "labels": {0: "n"}}, **common,
                )  # fmt: skip
        return {"files": list(FILES)}
