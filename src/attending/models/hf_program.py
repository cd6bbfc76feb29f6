"""Worker program: the vision models of transformers. Run by ``worker_main``; imports torch, transformers and Pillow.

setup: folder (config, safetensors, processor files), kind, threads, precision ("auto", "fp32" or "bf16").
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np

KEPT = 32
"""Embeddings that are kept; the oldest goes first and is made again when it is asked for."""


class Refused(Exception):
    """The request cannot be answered; the text says why."""


def place(setup: dict[str, Any]) -> tuple[Any, Any]:
    """(device, dtype): the GPU in bfloat16 where there is one, else the CPU in float32, unless told otherwise."""
    import torch

    torch.set_num_threads(int(setup.get("threads", 2)))
    torch.set_grad_enabled(False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = setup.get("precision", "auto")
    dtype = torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and device.type == "cuda") else torch.float32
    return device, dtype


def loaded(kind: Any, setup: dict[str, Any], **more: Any) -> tuple[Any, Any, Any]:
    """(model, device, dtype). Only safetensors, only from the folder, never code that lies beside the weights."""
    device, dtype = place(setup)
    model = kind.from_pretrained(
        setup["folder"], local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=dtype, **more
    )
    return model.eval().to(device), device, dtype


def beside(name: str) -> Any:
    """A file beside this one, as a module: its folder is not on the path."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(f"attending_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(array: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(array)


def numbers(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().float().cpu().numpy()
    return array


class Sam:
    """embed(pixels, key), decode(key, points, labels, earlier, several), forget(key). SAM and SAM 2."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import Sam2Model, SamModel

        self.second = setup["kind"] == "sam2"
        self.model, self.device, self.dtype = loaded(Sam2Model if self.second else SamModel, setup)
        self.kept: OrderedDict[str, Any] = OrderedDict()
        self.facts = facts(self)

    def embed(self, pixels: np.ndarray, key: str) -> dict[str, Any]:
        import torch

        given = torch.from_numpy(pixels).to(self.device, self.dtype)
        self.kept[key] = self.model.get_image_embeddings(given)
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        return {}

    def decode(
        self, key: str, points: np.ndarray, labels: np.ndarray, several: bool, earlier: np.ndarray | None = None
    ) -> dict[str, Any]:
        """labels as ``sam_session`` names them: corners go as a box, and padding is the network's own affair."""
        import torch

        if key not in self.kept:
            return {"missing": True}
        self.kept.move_to_end(key)
        clicks, corners = (labels == 0) | (labels == 1), labels >= 2
        given: dict[str, Any] = {}
        if clicks.any():
            given["input_points"] = torch.from_numpy(points[clicks])[None, None].to(self.device, self.dtype)
            given["input_labels"] = torch.from_numpy(labels[clicks])[None, None].to(self.device)
        if corners.any():
            given["input_boxes"] = torch.from_numpy(points[corners].reshape(1, 1, 4)).to(self.device, self.dtype)
        if earlier is not None:
            given["input_masks"] = torch.from_numpy(earlier)[None, None].to(self.device, self.dtype)
        out = self.model(image_embeddings=self.kept[key], multimask_output=bool(several), **given)
        return {"logits": numbers(out.pred_masks[0, 0]), "scores": numbers(out.iou_scores[0, 0])}

    def forget(self, key: str) -> dict[str, Any]:
        self.kept.pop(key, None)
        return {}


class Clip:
    """encode_images, encode_texts: vectors of length one, of CLIP, SigLIP and their kin."""

    batches: ClassVar[dict[str, int]] = {"encode_images": 16, "encode_texts": 32}

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        self.model, self.device, self.dtype = loaded(AutoModel, setup)
        if not hasattr(self.model, "get_text_features"):
            raise Refused(f"a {self.model.config.model_type} model has no text side")
        self.look = AutoImageProcessor.from_pretrained(setup["folder"], local_files_only=True)
        self.read = AutoTokenizer.from_pretrained(setup["folder"], local_files_only=True)
        text = self.model.config.text_config
        # SigLIP was trained on texts filled up to full length; CLIP stops at the end token.
        self.words = {
            "padding": "max_length" if "siglip" in self.model.config.model_type else True,
            "truncation": True,
            "max_length": int(text.max_position_embeddings),
        }
        self.facts = facts(self)

    def encode_images(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pixels = self.look(images=[picture(r["image"]) for r in requests], return_tensors="pt")["pixel_values"]
        return self._unit(self.model.get_image_features(pixel_values=pixels.to(self.device, self.dtype)))

    def encode_texts(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        given = self.read([r["text"] for r in requests], return_tensors="pt", **self.words)
        return self._unit(self.model.get_text_features(**given.to(self.device)))

    def attribute(self, method: str, image: np.ndarray, covered: np.ndarray, direction: np.ndarray) -> dict[str, Any]:
        """Which parts of a picture a direction of the space rests on; see ``hf_explain``."""
        return {"heat": beside("hf_explain").attribute(self, picture, method, image, covered, direction)}

    @staticmethod
    def _unit(out: Any) -> list[dict[str, Any]]:
        vectors = numbers(getattr(out, "pooler_output", out))
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return [{"vector": row} for row in vectors]


class Heat:
    """locate(image, phrase): CLIPSeg's heat map of a phrase, 0..1."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPSegForImageSegmentation

        self.model, self.device, self.dtype = loaded(CLIPSegForImageSegmentation, setup)
        self.look = AutoImageProcessor.from_pretrained(setup["folder"], local_files_only=True)
        self.read = AutoTokenizer.from_pretrained(setup["folder"], local_files_only=True)
        self.facts = facts(self)

    def locate(self, image: np.ndarray, phrase: str) -> dict[str, Any]:
        pixels = self.look(images=picture(image), return_tensors="pt")["pixel_values"]
        words = self.read([phrase], return_tensors="pt", padding=True, truncation=True)
        out = self.model(pixel_values=pixels.to(self.device, self.dtype), **words.to(self.device))
        return {"heat": numbers(out.logits.reshape(out.logits.shape[-2:]).sigmoid())}


class Boxes:
    """locate(image, phrase): GroundingDINO's boxes of a phrase with scores; x0, y0, x1, y1 in pixels, not rounded."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.model, self.device, self.dtype = loaded(AutoModelForZeroShotObjectDetection, setup)
        self.prepare = AutoProcessor.from_pretrained(setup["folder"], local_files_only=True)
        self.least = float(setup.get("least", 0.25))
        self.facts = facts(self)

    def locate(self, image: np.ndarray, phrase: str) -> dict[str, Any]:
        text = phrase.strip().lower().rstrip(".") + "."  # the form that it was trained on
        given = self.prepare(images=picture(image), text=text, return_tensors="pt").to(self.device)
        given["pixel_values"] = given["pixel_values"].to(self.dtype)
        found = self.prepare.post_process_grounded_object_detection(
            self.model(**given),
            given["input_ids"],
            threshold=self.least,
            text_threshold=self.least,
            target_sizes=[image.shape[:2]],
        )[0]
        return {"boxes": numbers(found["boxes"]).reshape(-1, 4), "scores": numbers(found["scores"])}


def facts(program: Any) -> dict[str, Any]:
    """What the parent may show: where and how it runs, and how large it is."""
    import torch
    import transformers

    return {
        "device": program.device.type,
        "dtype": str(program.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in program.model.parameters()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


KINDS = {"sam": Sam, "sam2": Sam, "clip": Clip, "heat": Heat, "boxes": Boxes}


def Program(setup: dict[str, Any]) -> Any:
    """What ``worker_main`` calls."""
    return KINDS[setup["kind"]](setup)
