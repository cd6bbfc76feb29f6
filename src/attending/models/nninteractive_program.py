"""The worker's side of nnInteractive, in an environment that has it. It does not import attending."""

import runpy
from pathlib import Path
from typing import Any


class Refused(Exception):
    """Why, in words for the user."""


class Program:
    def __init__(self, setup: "dict[str, Any]") -> None:
        import torch

        restricted = runpy.run_path(str(Path(__file__).with_name("nnunet_program.py")))
        restricted["load_restricted"]()
        self.threads = int(setup.get("threads", 2))
        # On by default, as its authors have it: it looks again further out where a mask reaches its window's edge.
        self.autozoom = setup.get("task") != "no-autozoom"
        torch.set_num_threads(self.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sessions: dict[int, Any] = {}
        try:
            # As nnInteractive's own server does: loaded once, and each session shares it.
            self.artifacts = self._session()._load_model_artifacts_from_disk(setup["weights"])
        except (FileNotFoundError, AssertionError):
            raise Refused(
                "no nnInteractive model in the weights' folder: plans.json, inference_info.json, fold_0"
            ) from None

    def _session(self) -> Any:
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

        return nnInteractiveInferenceSession(
            device=self.device,
            use_torch_compile=False,
            verbose=False,
            torch_n_threads=self.threads,
            do_autozoom=self.autozoom,
        )

    def open(self, key: int, volume: Any) -> "dict[str, Any]":
        """(x, y, z) float32."""
        import torch

        made = self._session()
        made.initialize_from_loaded_artifacts(self.artifacts)
        made.set_image(volume[None])
        made.set_target_buffer(torch.zeros(volume.shape, dtype=torch.uint8))
        self.sessions[key] = made
        return {}

    def predict(
        self,
        key: int,
        points: "list[list[int]]",
        strokes: "list[list[int]]",
        box: Any = None,
        mask: Any = None,
        **drawn: Any,
    ) -> "dict[str, Any]":
        """All prompts so far, from the beginning -> mask (x, y, z) bool."""
        session = self.sessions[key]
        session.reset_interactions()
        steps: list[tuple[Any, tuple[Any, ...]]] = []
        if mask is not None:
            steps.append((session.add_initial_seg_interaction, (mask.astype("uint8"),)))
        if box is not None:
            steps.append((session.add_bbox_interaction, (box, True)))
        for number, (positive, closed) in enumerate(strokes):
            add = session.add_lasso_interaction if closed else session.add_scribble_interaction
            steps.append((add, (drawn[f"stroke{number}"].astype("uint8"), bool(positive))))
        for x, y, z, positive in points:
            steps.append((session.add_point_interaction, ((x, y, z), bool(positive))))
        for number, (step, values) in enumerate(steps, 1):
            step(*values, run_prediction=number == len(steps))
        return {"mask": session.target_buffer.numpy() > 0}

    def close(self, key: int) -> "dict[str, Any]":
        self.sessions.pop(key, None)
        return {}
