"""Do frames reach the vision tower as its weights were trained? From the files to the pixel values, end to end.

In: a policy, frames as they are packed, and where there are files the same frames as recorded. Out: findings. The
pixel values are caught at the vision tower and compared with what they should be, computed anew with Pillow and numpy;
where another reading (channels swapped, mean and deviation left out, ...) comes nearer, that one is named. Data that
was recorded with swapped channels looks right here: no file says which of its channels is red.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.doctor.finding import Finding, Severity
from mobile_vla.models.policy import Policy

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
TOLERANCE = 0.25  # root mean square, in standard deviations: a grey level is 0.015, another resize about 0.05
AS_TRAINED = "as trained"
MEANS = {
    "swapped_channels": "red and blue are swapped on the way to the vision tower",
    "missing_mean_std": "images reach the vision tower in [0, 1], without the mean and deviation of its training",
    "swapped_mean_std": "images are normalised by mean and deviation of red for blue and of blue for red",
    "swapped_channels_missing_mean_std": "images reach the vision tower in [0, 1] and with red and blue swapped",
    "missing_scaling": "images reach the vision tower in [0, 255]",
}


def judge_reading(
    policy: Policy,
    trained_with: Preprocessing,
    frames: UInt8[Tensor, "N H V 3"],
    recorded: Sequence[UInt8[np.ndarray, "height width 3"]],
    asked_for: bool,
) -> list[Finding]:
    """trained_with  what the base weights say;  asked_for  whether `model.preprocessing` says otherwise on purpose"""
    given = catch_pixels(policy, frames).cpu().double().numpy()
    if recorded:
        seen = np.stack([_resize(frame, policy.preprocessing) for frame in recorded]) / 255.0
    else:
        seen = frames.cpu().permute(0, 3, 1, 2).double().numpy() / 255
    distances = {
        name: float(np.sqrt(np.mean((given[: len(seen)] - expected) ** 2)))
        for name, expected in _readings(seen, trained_with).items()
    }
    nearest = min(distances, key=lambda name: distances[name])
    numbers: dict[str, Any] = {
        "distances": distances,
        "given": _channels(given),
        "expected": _channels(_readings(seen, trained_with)[AS_TRAINED]),
        "compared_with_files": len(recorded),
    }
    if nearest == AS_TRAINED and distances[nearest] <= TOLERANCE:
        return []
    severity: Severity = "warning" if asked_for and "swapped" not in nearest else "error"
    remedy = "look at preprocessing.py"
    if asked_for:
        remedy = "train with model.preprocessing=clip, or without it; weights that were trained so need it as it is"
    if "swapped" in nearest:
        remedy = "look at how frames are decoded (RGB is meant); delete data.pack_dir where packed copies are the cause"
    name = nearest if nearest != AS_TRAINED else "pixels_differ"
    return [
        Finding(
            name=name,
            severity=severity,
            what=MEANS.get(name, f"pixel values are {distances[AS_TRAINED]:.2f} deviations from what the files give"),
            means=(
                "the vision tower gets colours unlike those of its training, so its features are worse; a fine-tune "
                "can adapt to them, but starts from a worse place"
            ),
            remedy=remedy,
            numbers=numbers,
        )
    ]


@torch.no_grad()
def catch_pixels(policy: Policy, frames: UInt8[Tensor, "N H V 3"]) -> Float[Tensor, "N 3 H V"]:
    """What the vision tower is given for these frames."""
    caught: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> None:
        caught.append(kwargs["pixel_values"] if "pixel_values" in kwargs else args[0])

    tower = policy.backbone.model.get_submodule(policy.backbone.anatomy.vision)
    hook = tower.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        policy.backbone.image_tokens(policy.preprocessing(frames))
    finally:
        hook.remove()
    return caught[0].float()


def _readings(seen: np.ndarray, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """(N, 3, H, H) in [0, 1] -> what the vision tower would be given, rightly and otherwise; the right one first."""
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    swapped = seen[:, ::-1]
    return {
        AS_TRAINED: (seen - mean) / std,
        "swapped_channels": (swapped - mean) / std,
        "swapped_mean_std": (seen - mean[:, ::-1]) / std[:, ::-1],
        "missing_mean_std": seen,
        "swapped_channels_missing_mean_std": swapped,
        "missing_scaling": seen * 255,
    }


def _resize(frame: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    side = (preprocessing.size, preprocessing.size)
    small = Image.fromarray(frame).resize(side, RESAMPLING[preprocessing.interpolation])
    return np.asarray(small, dtype=np.float64).transpose(2, 0, 1)


def _channels(pixels: np.ndarray) -> dict[str, list[float]]:
    return {"mean": pixels.mean((0, 2, 3)).tolist(), "std": pixels.std((0, 2, 3)).tolist()}
