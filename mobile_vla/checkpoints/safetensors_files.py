"""Files of safetensors, which hold nothing but tensors; their headers are read, the rest is mapped."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mobile_vla.checkpoints.opened import Opened, TensorSpec, Weights
from mobile_vla.core.errors import UserError

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def open_safetensors(file: Path) -> Opened:
    """`UserError` where the header does not fit the file. Its place is a tensor's own: the format shares nothing."""
    try:
        with safe_open(file, "pt") as opened:
            specs = {}
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                part = opened.get_slice(name)
                dtype = DTYPES.get(str(part.get_dtype()), str(part.get_dtype()).lower())
                specs[name] = TensorSpec(shape=tuple(part.get_shape()), dtype=dtype, place=(file.name, name))
            beside = dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise UserError(f"{file} is damaged or was cut off: {reason}; get it again from where it came") from error
    if not specs:
        raise UserError(f"{file} holds no tensors")

    def load() -> Callable[[str], Tensor]:
        return safe_open(file, "pt").__enter__().get_tensor

    return Opened(
        path=file, container="safetensors", files=(file,), weights=Weights(specs, load), beside={"metadata": beside}
    )
