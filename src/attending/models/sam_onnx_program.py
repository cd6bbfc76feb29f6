"""Worker program: SAM's ONNX graphs from its safetensors, once. Run by ``worker_main``; imports torch.

setup: folder, to (where the graphs go), threads. The graphs: ``encoder.onnx`` (pixels -> embedding); ``plane.onnx``,
what the decoder makes of an embedding before it looks at prompts, once a plane; from there ``click.onnx`` (three masks
for one click) and ``refine.onnx`` (one mask for more than that); ``again.onnx`` (one mask, from an earlier mask).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPSET = 18
FILES = ("encoder.onnx", "plane.onnx", "click.onnx", "refine.onnx", "again.onnx")
PROMPTS = ("points", "labels")


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
    """embedding (1, c, h, w), points (n, 2), labels (n,), earlier (1, 1, low, low) or nothing -> masks, scores.

    Labels: -1 padding, 0 and 1 clicks, 2 and 3 corners of the box. The reference embeds clicks and boxes by two paths;
    one sum over all labels is the same and needs no branch in the graph.
    """
    import torch

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.prompt, self.masks = model.prompt_encoder, model.mask_decoder
            self.register_buffer("grid", model.get_image_wide_positional_embeddings().detach().clone())

        def forward(self, embedding: Any, points: Any, labels: Any, earlier: Any = None) -> Any:
            prompt = self.prompt
            side = (prompt.input_image_size, prompt.input_image_size)
            at = prompt.shared_embedding((points + 0.5)[None, None], side)[0, 0]
            which = labels[:, None]
            sparse = torch.where(which == -1, torch.zeros_like(at), at)
            sparse = sparse + (which == -1) * prompt.not_a_point_embed.weight
            for label in range(4):
                sparse = sparse + (which == label) * prompt.point_embed[label].weight
            none = prompt.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = none if earlier is None else prompt.mask_embed(earlier)
            masks, scores = self.masks(
                image_embeddings=embedding,
                image_positional_embeddings=self.grid,
                sparse_prompt_embeddings=sparse[None, None],
                dense_prompt_embeddings=dense,
                multimask_output=several,
            )[:2]
            return masks[0, 0], scores[0, 0]

    return Decoder()


@contextmanager
def one_prompt() -> Iterator[None]:
    """One mask is asked for at a time, so nothing is repeated for several: else the graph would take the number from
    the prompts, and nothing of the image could be cut out before them."""
    import torch

    kept = torch.Tensor.repeat_interleave
    torch.Tensor.repeat_interleave = lambda tensor, *_, **__: tensor
    try:
        yield
    finally:
        torch.Tensor.repeat_interleave = kept


def apart(whole: dict[str, Path], to: Path) -> None:
    """Cut what depends on the embedding alone out of the decoders, into ``plane.onnx``: a click need not repeat it."""
    import onnx

    borders = {name: border(onnx.load(path).graph) for name, path in whole.items()}
    shared = sorted(set().union(*borders.values()))
    first = next(iter(whole.values()))
    onnx.utils.extract_model(str(first), str(to / "plane.onnx"), ["embedding"], shared)
    for name, path in whole.items():
        onnx.utils.extract_model(str(path), str(to / name), [*PROMPTS, *borders[name]], ["masks", "scores"])
        path.unlink()


def border(graph: Any) -> list[str]:
    """Tensors that come from the embedding, not from the prompts, and that something of the prompts' side uses."""
    prompted, seen = set(PROMPTS), {"embedding"}
    for node in graph.node:  # in order: each after what it uses
        side = prompted if prompted.intersection(node.input) else seen if seen.intersection(node.input) else set()
        side.update(node.output)
    used = {name for node in graph.node if prompted.intersection(node.output) for name in node.input}
    return sorted(used & seen)


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
        prompts = (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
        earlier = torch.zeros(1, 1, 4 * side // patch, 4 * side // patch)
        masks = {"output_names": ["masks", "scores"], "dynamic_axes": {"points": {0: "n"}, "labels": {0: "n"}}}
        common = {"opset_version": OPSET, "dynamo": False}
        whole = {name: self.to / f"whole-{name}" for name in ("click.onnx", "refine.onnx")}
        with torch.no_grad(), warnings.catch_warnings(), one_prompt():
            warnings.simplefilter("ignore")  # the tracer warns of every size that is a constant here
            for name, path in whole.items():
                net, names = decoder(self.model, name == "click.onnx").eval(), ["embedding", *PROMPTS]
                torch.onnx.export(net, (embedding, *prompts), str(path), input_names=names, **masks, **common)
            net, names = decoder(self.model, False).eval(), ["embedding", *PROMPTS, "earlier"]
            torch.onnx.export(
                net, (embedding, *prompts, earlier), str(self.to / "again.onnx"), input_names=names, **masks, **common
            )
        net, to = encoder(self.model), str(self.to / "encoder.onnx")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net, (pixels,), to, input_names=["pixels"], output_names=["embedding"], **common)
        apart(whole, self.to)
        return {"files": list(FILES)}
