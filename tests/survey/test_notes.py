"""What deserves a look is said, with its numbers; what does not is not."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from mobile_vla.data.splits import SplitConfig
from mobile_vla.survey.notes import write_notes
from tests.conftest import draw_actions

NAME = "episode_202512{day:02}_1135{i:02}_1box_hori_{side}_core_medium.h5"


@pytest.fixture
def write_set(tmp_path: Path, write_episode):
    """`write_set(days=…)`: twelve good episodes, six a side, one to each minute; `days` gives the day of each."""

    def write(days=lambda i: 1 + i % 3, num_frames=18, **changes) -> Path:
        folder = tmp_path / "episodes"
        for i in range(12):
            side = ("left", "right")[i % 2]
            actions = draw_actions(num_frames, seed=i)
            actions[:, 1] = np.abs(actions[:, 1]) * (1 if side == "left" else -1)
            actions[:, 2] = 0
            path = folder / NAME.format(day=days(i), i=i, side=side)
            values = {"instruction": f"go {side}", "total_duration": 0.4 * num_frames, **changes}
            write_episode(path, "v3", num_frames, actions=actions, seed=i, **values)
        return folder

    return write


QUIET = {"step_s": 0.4, "speed_scale": 1.0, "split": SplitConfig(validation=0.25, test=0.25)}


def notes_of(survey) -> list[str]:
    return [note.text for note in write_notes(survey)]


def constant(name: str, value: str) -> str:
    return f"The label '{name}' is '{value}' in every episode."


CONSTANT = [
    constant("boxes", "1box"), constant("distance", "medium"), constant("orientation", "hori"),
    constant("pattern", "core"),
]  # fmt: skip


def test_a_sound_set_raises_nothing_but_what_is_constant(write_set, survey_of):
    assert notes_of(survey_of(write_set(), **QUIET)) == CONSTANT


def test_days_need_not_be_even(write_set, survey_of):
    assert notes_of(survey_of(write_set(days=lambda i: 1 + (i > 1)), **QUIET)) == CONSTANT


def test_what_is_not_known_is_asked_for(write_set, survey_of):
    found = notes_of(survey_of(write_set(), split=QUIET["split"]))
    assert found[:2] == [
        "A step lasts 0.4 s by the total_duration of 12 episodes: set data.step_s=0.4.",
        "Distances are in steps, not metres: data.step_s and data.speed_scale not given.",
    ]


def test_a_step_that_the_files_contradict(write_set, survey_of):
    found = notes_of(survey_of(write_set(), **{**QUIET, "step_s": 0.1}))
    assert found[0] == "data.step_s=0.1, but a step lasts 0.4 s by the total_duration of 12 episodes."


def test_a_side_that_follows_the_day(write_set, survey_of):
    found = notes_of(survey_of(write_set(days=lambda i: 1 + i % 2), **QUIET))
    assert any(note.startswith("direction goes with session (Cramér's V 1.00 over 12 episodes)") for note in found)
    (unknown,) = (note for note in found if "can show whether a policy reads its instruction" in note)
    assert "12 episodes with 2 different instructions, permuted within recording sessions, are too few" in unknown


def test_the_gravest_comes_first(write_set, survey_of):
    folder = write_set(instruction="go")
    (folder / "broken.h5").write_bytes(b"")
    survey = survey_of(folder, **{**QUIET, "components": ("linear_x", "angular_z")})
    notes = write_notes(survey)
    assert [note.grade for note in notes] == ["mend"] * 2 + ["look"] * 2 + ["know"] * len(CONSTANT)
    assert notes[0].text == "1 of 13 files are left out (1 of them like this: is empty (0 bytes))."
    assert notes[1].text.startswith("Training would refuse this data: action component 'angular_z' has (near) zero")
    assert notes[2].text.endswith("reads its instruction: every episode has the same instruction.")
    assert notes[3].text.startswith("linear_y varies (")


def test_an_outlier_that_sets_the_bounds(write_set, survey_of):
    folder = write_set()
    with h5py.File(next(folder.iterdir()), "a") as file:
        file["actions"][3, 0] = 9.0
    (found,) = [text for text in notes_of(survey_of(folder, **QUIET)) if "outliers" in text]
    assert found.startswith("The bounds of linear_x, -1.14 to 9, are set by a few outliers")


def test_copies_and_what_they_disagree_in(write_set, survey_of):
    folder = write_set()
    first = sorted(folder.iterdir())[0]
    (folder / first.name.replace("left", "right").replace("1135", "1136")).write_bytes(first.read_bytes())
    found = notes_of(survey_of(folder, **QUIET))
    assert found[0] == "Copies of one another disagree in direction (groups: 1): what one of them says is wrong."
    assert found[1].startswith("2 episodes are exact copies of one another (groups: 1)")


def test_windows_that_training_would_refuse(write_set, survey_of):
    found = notes_of(survey_of(write_set(num_frames=16), **QUIET, ends="drop"))
    assert found[0].startswith("Training would refuse 12 of 12 episodes: with data.ends=drop")


def test_labels_that_are_rare_or_unknown(write_set, survey_of, write_episode):
    folder = write_set()
    write_episode(folder / "episode_20251201_120000_2box_hori_left_core_medium.h5", "v3", 18, instruction="go left")
    write_episode(folder / "x.h5", "v3", 18, seed=3, instruction="go left")
    found = notes_of(survey_of(folder, **QUIET))
    assert "boxes=2box has 1 of 13 episodes: too few for training, validation and test." in found
    assert any(text.startswith("Labels that are unknown for some of 14 episodes: boxes for 1, ") for text in found)


def test_a_table_of_labels_is_reported(write_set, survey_of, tmp_path):
    folder = write_set()
    table = tmp_path / "labels.csv"
    rows = [f"{file.stem},{'left' if i else 'right'},1" for i, file in enumerate(sorted(folder.iterdir()))]
    table.write_text("\n".join(["episode,direction,has_bbox", *rows]))
    survey = survey_of(folder, **QUIET, labels=str(table))
    assert survey.payload()["label_table"].corrected["direction"] > 0
    assert any(text.startswith("labels from labels.csv: direction, has_bbox by episode;") for text in notes_of(survey))
    assert constant("has_bbox", "1") in notes_of(survey)
