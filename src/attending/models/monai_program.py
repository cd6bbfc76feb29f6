"""The worker's side of a MONAI bundle: builds the network, loads safetensors, slides. Runs nothing of the bundle.

Any Python with torch, monai and safetensors; it does not import attending.
"""

from typing import Any


class Refused(Exception):
    """Why, in words for the user."""


class Program:
    def __init__(self, setup: "dict[str, Any]") -> None:
        import torch
        from safetensors.torch import load_file

        torch.set_num_threads(int(setup.get("threads", 2)))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        network = _built(setup["network"], 0)
        weights = load_file(setup["weights"])
        wanted = set(network.state_dict())
        for wrapper in ("model.", "network.", "net."):
            if not wanted & set(weights) and all(name.startswith(wrapper) for name in weights):
                weights = {name[len(wrapper) :]: tensor for name, tensor in weights.items()}
        try:
            network.load_state_dict(weights, strict=True)
        except RuntimeError as unlike:
            first = str(unlike).splitlines()[-1].strip()[:200]
            raise Refused(f"the weights do not fit the network that the bundle describes: {first}") from None
        self.network = network.eval().to(self.device)
        self.facts = {"device": self.device}

    def segment(self, volume: Any, roi: "list[int]", overlap: float, activation: str) -> "dict[str, Any]":
        """(x, y, z) float32 -> output channel of each voxel; for sigmoid the channel count where none reaches 0.5."""
        import torch
        from monai.inferers import sliding_window_inference

        with torch.inference_mode():
            fed = torch.from_numpy(volume)[None, None]
            if roi:
                out = sliding_window_inference(
                    fed, roi, 1, self.network, overlap=overlap, mode="gaussian", sw_device=self.device, device="cpu"
                )
            else:
                out = self.network(fed.to(self.device)).cpu()
            if isinstance(out, (list, tuple)):
                out = out[0]
            out = out[0]
            classes = out.argmax(0)
            if activation == "sigmoid":
                classes = torch.where(out.amax(0) > 0, classes, torch.tensor(out.shape[0]))
        return {"classes": classes.to(torch.uint8).numpy()}


def _built(value: Any, depth: int) -> Any:
    """A network out of {"_target_": name, ...}: modules of monai.networks and torch.nn, nothing else."""
    if depth > 32:
        raise Refused("a network nested deeper than any")
    if isinstance(value, list):
        return [_built(part, depth + 1) for part in value]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _built(part, depth + 1) for key, part in value.items()}
    kind = _class(value["_target_"])
    given = {key: _built(part, depth + 1) for key, part in value.items() if not (key[0] == "_" and key[-1] == "_")}
    listed = [_built(part, depth + 1) for part in value.get("_args_", [])]
    try:
        return kind(*listed, **given)
    except (TypeError, ValueError) as wrong:
        raise Refused(f"{value['_target_']} cannot be built as the bundle says: {str(wrong)[:200]}") from None


def _class(name: str) -> Any:
    import monai.networks.blocks
    import monai.networks.nets
    import torch

    rooms = {
        "monai.networks.nets": monai.networks.nets,
        "monai.networks.blocks": monai.networks.blocks,
        "torch.nn": torch.nn,
    }
    room, _, last = name.rpartition(".")
    while room and room not in rooms and room.startswith("monai.networks."):
        room = room.rpartition(".")[0]  # monai.networks.nets.unet.UNet is the same class as monai.networks.nets.UNet
    kind = getattr(rooms.get(room or "monai.networks.nets"), last, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise Refused(f"a network {name}, which is no class of monai.networks.nets or torch.nn")
    return kind
