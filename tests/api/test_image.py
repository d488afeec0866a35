"""Pictures as programs hold them become the same frame, or are refused: none is misread."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobile_vla.api.image import read_image
from mobile_vla.core.errors import UserError

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
SAME = {
    "numpy": PICTURE,
    "a read-only view, mirrored twice": np.broadcast_to(PICTURE[:, ::-1].copy(), PICTURE.shape)[:, ::-1],
    "channels first": PICTURE.transpose(2, 0, 1),
    "torch": torch.from_numpy(PICTURE),
    "torch, channels first, with a gradient": (torch.from_numpy(PICTURE).permute(2, 0, 1) / 255).requires_grad_(),
    "half precision": torch.from_numpy(PICTURE / 255).half(),
    "float64": PICTURE / 255,
    "Pillow": Image.fromarray(PICTURE),
}  # fmt: skip


@pytest.mark.parametrize("image", SAME.values(), ids=SAME.keys())
def test_every_form_is_the_same_frame(image):
    frame = read_image(image)
    assert (frame.dtype, tuple(frame.shape), frame.is_contiguous()) == (torch.uint8, (5, 7, 3), True)
    assert np.array_equal(frame.numpy(), PICTURE)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PICTURE[None], r"a batch \(1, 5, 7, 3\); give one frame"),
        (PICTURE[..., 0], r"got shape \(5, 7\)"),
        (np.dstack([PICTURE, PICTURE[..., :1]]), r"got shape \(5, 7, 4\)"),
        (np.zeros((0, 7, 3), np.uint8), r"got shape \(0, 7, 3\)"),
        (np.zeros((3, 9, 3), np.uint8), "channels first or last"),
        (PICTURE.astype(int), "got int64; convert it to uint8"),
        (PICTURE.astype(np.float32), "floats from 0 to 248"),
        (PICTURE / 127.5 - 1, "floats from -1 to 0.945"),
        (np.full((5, 7, 3), np.nan), "floats from nan"),
        (PICTURE > 3, "got bool"),
        (PICTURE.astype(object), "dtype object"),
        ([[1, 2, 3]], "got list"),
        ("frame.png", "got str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_be_misread_is_refused_by_the_arguments_name(image, message):
    with pytest.raises(UserError, match=f"^frame: .*{message}"):
        read_image(image)
