"""What is written for the Projector is what TensorBoard's own readers read."""

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import _read_tensor_tsv_file

from mobile_vla.display.projector import Cloud, show_latest, write_clouds


def make_cloud(name: str = "context", num: int = 7, seed: int = 0) -> Cloud:
    rng = np.random.default_rng(seed)
    return Cloud(
        name=name,
        folder=name,
        vectors=(rng.standard_normal((num, 5)) * 10.0 ** rng.integers(-9, 9, (num, 1))).astype(np.float32),
        columns=["direction", "frame"],
        labels=[["왼쪽", str(i)] for i in range(num)],
        pictures=rng.integers(1, 256, (num, 4, 4, 3), dtype=np.uint8),
    )


@pytest.mark.parametrize("num", [1, 7, 9])
def test_files_say_what_the_cloud_says(tmp_path, num):
    clouds = [make_cloud(num=num), make_cloud("pixels", num=2, seed=1)]
    write_clouds(tmp_path, clouds)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [told.tensor_name for told in config.embeddings] == ["context", "pixels"]
    for told, cloud in zip(config.embeddings, clouds, strict=True):
        vectors = _read_tensor_tsv_file(str(tmp_path / told.tensor_path))
        assert vectors.shape == tuple(told.tensor_shape) == cloud.vectors.shape
        np.testing.assert_allclose(vectors, cloud.vectors, rtol=1e-6)
        lines = (tmp_path / told.metadata_path).read_text(encoding="utf-8").splitlines()
        assert [line.split("\t") for line in lines] == [cloud.columns, *cloud.labels]
        width, height = told.sprite.single_image_dim
        sprite = np.asarray(Image.open(tmp_path / told.sprite.image_path))
        across = sprite.shape[1] // width
        for i, picture in enumerate(cloud.pictures):
            row, column = divmod(i, across)
            place = sprite[row * height : (row + 1) * height, column * width : (column + 1) * width]
            np.testing.assert_array_equal(place, picture)


def test_the_newest_takes_the_place_of_what_was_there(tmp_path):
    show_latest(tmp_path / "projector", "epoch_000", [make_cloud()])
    show_latest(tmp_path / "projector", "epoch_001", [make_cloud(seed=1)])
    assert [folder.name for folder in (tmp_path / "projector").iterdir()] == ["epoch_001"]
    files = {file.name.partition(".")[0] for file in (tmp_path / "projector" / "epoch_001").iterdir()}
    assert files == {"points", "projector_config", "events"}, "without an event TensorBoard sees no run"


def test_what_is_not_the_projectors_stays(tmp_path):
    folder = tmp_path / "projector"
    show_latest(folder, "epoch_000", [make_cloud()])
    (folder / "epoch_000" / "notes.txt").touch()
    (folder / "mine").mkdir()
    (folder / "mine" / "tensors.tsv").touch()
    (folder / "file").touch()
    show_latest(folder, "epoch_001", [make_cloud()])
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_000", "epoch_001", "file", "mine"]
    assert [path.name for path in (folder / "epoch_000").iterdir()] == ["notes.txt"]
    assert (folder / "mine" / "tensors.tsv").exists()
