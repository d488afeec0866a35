"""Maps a `.npy` file into memory without keeping it open.

NumPy's own maps hold a file each, of which a process may have about a thousand; of maps Linux allows it 65,530.
"""

from pathlib import Path

import numpy as np
import torch

MAX_MAPS = 2**14  # that a reader keeps


def map_npy(path: Path) -> np.ndarray | None:
    """The array, for reading only; None where there is no file, or none that is whole."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                return None
            try:
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            except Exception:  # a damaged header is Python that cannot be parsed, in ways that are not listed anywhere
                return None
            begin = file.tell()
        end = begin + int(np.prod(shape)) * dtype.itemsize
        if fortran_order or path.stat().st_size != end:
            return None
        content = torch.from_file(str(path), shared=False, size=end, dtype=torch.uint8).numpy()
    except (OSError, ValueError, RuntimeError):  # torch tells of a file that is gone meanwhile with the last
        return None
    if dtype.hasobject:
        return None
    found = content[begin:].view(dtype).reshape(shape)
    found.flags.writeable = False
    return found
