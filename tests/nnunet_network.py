"""Writes a small nnU-Net or nnInteractive folder with random weights, or predicts with one; run where those are.

nnunet_network.py FOLDER plain|interactive      nnunet_network.py FOLDER predict VOLUME.npy (z, y, x)
"""

import json
import sys
from pathlib import Path
from typing import Any

SPACING = [2.0, 1.5, 1.5]
NETWORK: "dict[str, Any]" = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 16],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def plans(side: int) -> "dict[str, Any]":
    resample = "resample_data_or_seg_to_shape"
    options = {"order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [side] * 3,
        "median_image_size_in_voxels": [16.0, 24.0, 20.0],
        "spacing": SPACING,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_probabilities": resample,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **options},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **options},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **options},
        "architecture": {"network_class_name": CLASS, "arch_kwargs": NETWORK, "_kw_requires_import": IMPORTED},
        "batch_dice": False,
    }
    facts = {"max": 900.0, "mean": 0.0, "median": 0.0, "min": -500.0, "std": 300.0}
    facts |= {"percentile_00_5": -400.0, "percentile_99_5": 800.0}
    return {
        "dataset_name": "Dataset001_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": SPACING,
        "original_median_shape_after_transp": [16, 24, 20],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "x",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": facts},
    }


def write(folder: Path, interactive: bool) -> None:
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    labels = {"background": 0, "object": 1} if interactive else {"background": 0, "liver": 1, "spleen": 2}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "plans.json").write_text(json.dumps(plans(64 if interactive else 16)))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    channels = 1
    if interactive:
        (folder / "inference_info.json").write_text("{}")
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

        session = nnInteractiveInferenceSession(device=torch.device("cpu"))
        session._apply_capability({})
        channels += session.num_interaction_channels
    torch.manual_seed(1)
    classes = 2 if interactive else 3
    network = get_network_from_plans(CLASS, NETWORK, IMPORTED, channels, classes, deep_supervision=False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def predict(folder: Path, path: Path) -> None:
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), use_folds=(0,))
    labels = predictor.predict_single_npy_array(np.load(path)[None], {"spacing": SPACING}, None, None, False)
    np.save(f"{path}.out.npy", labels)


if __name__ == "__main__":
    if sys.argv[2] == "predict":
        predict(Path(sys.argv[1]), Path(sys.argv[3]))
    else:
        write(Path(sys.argv[1]), sys.argv[2] == "interactive")
