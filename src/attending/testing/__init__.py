"""What tests share, ours and those of plugin authors: the conformance test of models, and phantoms.

``check_model(plugin)`` runs the contract that every model must keep; ``image_for(card)`` makes an image it admits.
"""

from .check_model import check_model
from .phantoms import image_for, with_voxels
from .running import CheckResult

__all__ = ["CheckResult", "check_model", "image_for", "with_voxels"]
