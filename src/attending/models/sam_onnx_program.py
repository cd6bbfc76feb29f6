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


def encoder(model: Any) -> Any:
    import torch

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
