"""The worker's side of torchxrayvision's DenseNet, in an environment that has it. It does not import attending."""

from typing import Any


class Refused(Exception):
    """Why, in words for the user."""


class Program:
    def __init__(self, setup: "dict[str, Any]") -> None:
        from pathlib import Path

        import torch
        import torchxrayvision as xrv
        from safetensors.torch import load_file

        torch.set_num_threads(int(setup.get("threads", 2)))
        path = Path(setup["weights"]) / "model.safetensors"
        if not path.is_file():
            raise Refused("no model.safetensors in the weights' folder: published files are pickles, convert them once")
        self.xrv = xrv
        self.network = xrv.models.DenseNet(weights=None, num_classes=18)
        try:
            self.network.load_state_dict(load_file(str(path)), strict=False)
        except RuntimeError:
            raise Refused("weights that do not fit torchxrayvision's DenseNet of 18 findings") from None
        self.network.eval()

    def score(self, film: Any) -> "dict[str, Any]":
        """(y, x) float32, 0..255 -> 18 scores."""
        import torch

        ready = self.xrv.datasets.normalize(film, 255)[None]
        ready = self.xrv.datasets.XRayCenterCrop()(ready)
        ready = self.xrv.datasets.XRayResizer(224, engine="skimage")(ready)
        with torch.inference_mode():
            scores = torch.sigmoid(self.network(torch.from_numpy(ready)[None].float()))[0]
        return {"scores": scores.numpy()}
