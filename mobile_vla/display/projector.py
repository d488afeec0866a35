"""What TensorBoard's Projector reads: points, their labels, their pictures.

In: clouds of points. Out: `projector_config.pbtxt` in the run's folder, and `points/<name>/` with `tensors.tsv`,
`metadata.tsv` and `sprite.png`.

TensorBoard reads the configurations of all runs when a run appears or goes, and the points of a run once: what changes
in a run that it has seen already is not noticed. So the files are there before the run's first event, and newer points
are a run of their own (`show_latest`).
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from jaxtyping import Float, UInt8
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from mobile_vla.core.durable import write_text

CONFIG = "projector_config.pbtxt"  # the name that TensorBoard looks for
POINTS = "points"
TENSORS, LABELS, PICTURES = "tensors.tsv", "metadata.tsv", "sprite.png"
SUFFIX = ".mobile_vla"  # of files of events that may be removed again


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """N points.

    name, folder     as the list of tensors shows it, and where its files are
    columns, labels  a name for each column, and for each point its texts; without tabs and line ends
    pictures         of each point, square
    """

    name: str
    folder: str
    vectors: Float[np.ndarray, "N D"]
    columns: Sequence[str]
    labels: Sequence[Sequence[str]]
    pictures: UInt8[np.ndarray, "N side side 3"]


def write_clouds(folder: Path, clouds: Sequence[Cloud]) -> None:
    config = ProjectorConfig()
    for cloud in clouds:
        place = folder / POINTS / cloud.folder
        place.mkdir(parents=True, exist_ok=True)
        np.savetxt(place / TENSORS, cloud.vectors, fmt="%.7g", delimiter="\t")
        lines = ["\t".join(texts) for texts in (cloud.columns, *cloud.labels)]
        (place / LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        # The default level takes four times as long and saves little.
        Image.fromarray(_tile(cloud.pictures)).save(place / PICTURES, compress_level=1)
        told = config.embeddings.add(tensor_name=cloud.name, tensor_shape=cloud.vectors.shape)
        told.tensor_path = f"{POINTS}/{cloud.folder}/tensors.tsv"
        told.metadata_path = f"{POINTS}/{cloud.folder}/metadata.tsv"
        told.sprite.image_path = f"{POINTS}/{cloud.folder}/sprite.png"
        told.sprite.single_image_dim.extend(cloud.pictures.shape[1:3])
    write_text(folder / CONFIG, text_format.MessageToString(config))


def show_latest(folder: Path, name: str, clouds: Sequence[Cloud]) -> None:
    """Write the clouds as the run `folder/name`, in the place of all others there."""
    write_clouds(folder / name, clouds)
    SummaryWriter(str(folder / name), filename_suffix=SUFFIX).close()  # an event makes it a run
    for other in folder.iterdir():
        if other.name != name and not other.is_symlink() and (other / CONFIG).is_file():
            _remove_clouds(other)


def _remove_clouds(folder: Path) -> None:
    """The files that `show_latest` has written there, and the folder if nothing else is in it."""
    places = [place for place in (folder / POINTS).glob("*") if not place.is_symlink()]
    files = [place / name for place in places for name in (TENSORS, LABELS, PICTURES)]
    for file in (*files, folder / CONFIG, *folder.glob(f"events.out.tfevents.*{SUFFIX}")):
        file.unlink(missing_ok=True)
    for place in (*places, folder / POINTS, folder):
        with suppress(OSError):  # it holds something else
            place.rmdir()


def _tile(pictures: UInt8[np.ndarray, "N side side 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Row by row, as many across as down, black where none is left."""
    num, side = pictures.shape[:2]
    across = math.ceil(math.sqrt(num))
    whole = np.zeros((across * across, side, side, 3), np.uint8)
    whole[:num] = pictures
    return whole.reshape(across, across, side, side, 3).swapaxes(1, 2).reshape(across * side, across * side, 3)
