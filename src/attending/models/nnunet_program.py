"""The worker's side of an nnU-Net model, in an environment that has nnunetv2. It does not import attending."""

from typing import Any


class Refused(Exception):
    """Why, in words for the user."""


def load_restricted() -> None:
    """torch.load by the restricted reader only, whatever a library asks for: a checkpoint cannot run anything."""
    import numpy
    import torch

    whole = torch.load
    core: Any = getattr(numpy, "_core", None) or numpy.core
    scalar = core.multiarray.scalar
    kinds = [type(numpy.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]
    torch.serialization.add_safe_globals([scalar, numpy.dtype, *kinds])

    def load(*args: Any, **options: Any) -> Any:
        try:
            return whole(*args, **{**options, "weights_only": True})
        except Exception as failed:
            name = type(failed).__name__
            raise Refused(
                f"a checkpoint that holds more than weights and plain values ({name}) is not loaded"
            ) from None

    torch.load = load


class Program:
    def __init__(self, setup: "dict[str, Any]") -> None:
        import torch

        load_restricted()
        torch.set_num_threads(int(setup.get("threads", 2)))
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self.predictor = nnUNetPredictor(
            use_mirroring=False,
            perform_everything_on_device=False,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            verbose=False,
            allow_tqdm=False,
        )
        try:
            self.predictor.initialize_from_trained_model_folder(setup["weights"], use_folds=None)
        except FileNotFoundError:
            raise Refused(
                "no trained nnU-Net in the weights' folder: plans.json, dataset.json, fold_0/checkpoint_final.pth"
            ) from None

    def segment(self, volume: Any, spacing: "list[float]") -> "dict[str, Any]":
        """(z, y, x) float32, spacing in the same order -> labels (z, y, x) uint8."""
        import numpy as np

        labels = self.predictor.predict_single_npy_array(volume[None], {"spacing": spacing}, None, None, False)
        return {"labels": np.ascontiguousarray(labels).astype(np.uint8)}
