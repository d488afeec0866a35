"""The source of the documentation, as a reader would copy it: into one file, with the commands that stand beside it."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobile_vla as mv
from mobile_vla.core.errors import UserError
from mobile_vla.sources.synthetic.episode import make_task, record
from tests.cli.small_training import SMALL, run

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"
NUM, FRAMES = 12, 9


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with the file `png_folders.py`, on Python's path, and recordings."""
    folder = tmp_path_factory.mktemp("own")
    (example,) = re.findall(r"```python\n(\"\"\".*?)```", DOCS.read_text("utf-8"), re.S)
    (folder / "png_folders.py").write_text(example, encoding="utf-8")
    for index in range(NUM):
        task = make_task(0, index, num_frames=FRAMES)
        recording = record(task, num_frames=FRAMES, resolution=(27, 48))
        place = folder / "recordings" / f"{index:02}_{task.side}"
        (place / "front").mkdir(parents=True)
        for number, frame in enumerate(recording.frames):
            Image.fromarray(frame).save(place / "front" / f"{number:03}.png")
        np.savetxt(place / "actions.csv", recording.actions, delimiter=",")
        (place / "instruction.txt").write_text(task.instruction, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("HOME", str(folder))
        yield folder
    sys.modules.pop("png_folders", None)


def own(here: Path) -> list[str]:
    """The words that the documentation gives."""
    (line,) = re.findall(r'^OWN="(.*)"$', DOCS.read_text("utf-8"), re.M)
    return line.replace("=recordings", f"={here / 'recordings'}").split()


def test_it_is_opened(here):
    from png_folders import PngFolders

    data = mv.open_dataset(here / "recordings", source=PngFolders())
    recording = record(make_task(0, 2, num_frames=FRAMES), num_frames=FRAMES, resolution=(27, 48))
    np.testing.assert_array_equal(np.stack(data[2].frames), recording.frames)
    np.testing.assert_allclose(data[2].actions, recording.actions[:, :2])
    assert data[2].labels == {"direction": recording.task.side}
    with pytest.raises(UserError, match="no images in rear/"):
        mv.open_dataset(here / "recordings", source=PngFolders(camera="rear"))


@pytest.mark.slow
def test_it_is_described_trained_on_resumed_evaluated_and_probed(here, tmp_path):
    small = [word for word in SMALL if not word.startswith("data=")]
    quick = ["callbacks.figures=null", "callbacks.effects=null", "data.split.validation=0.4", "data.num_workers=2"]
    assert run("stats", *own(here), f"out={tmp_path / 'stats'}") == 0
    camera, out = "+data.source.camera=front", tmp_path / "run"
    assert run("train", *own(here), camera, *small, *quick, "trainer.max_epochs=1", f"out={out}") == 0
    assert run("train", f"run={out}", "trainer.max_epochs=2") == 0
    assert run("eval", f"run={out}", "split=validation", f"out={tmp_path / 'eval'}") == 0
    assert run("probe", f"run={out}", f"out={tmp_path / 'probe'}") == 0
    held_out = {row["episode"] for row in json.loads((out / "split.json").read_text())["splits"]["validation"]}
    assert set(mv.open_store(tmp_path / "probe" / "contexts").episodes) == held_out
    assert run("doctor", f"run={out}", f"out={tmp_path / 'doctor'}") == 0
