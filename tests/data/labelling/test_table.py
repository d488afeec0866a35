"""Labels joined to episodes and frames, what follows from them, and what the user is told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig, check_labels, open_dataset
from mobile_vla.data.labelling.table import join_labels
from mobile_vla.data.splits import PARTS, SplitConfig, make_split
from mobile_vla.sources.instructions import InstructionConfig, choose_instruction

SIDES = InstructionConfig(table={"left": "Go left", "right": "Go right"}, default="Go on")


@pytest.fixture
def episodes(make_episode):
    """Four episodes of 4 frames that drive left, as their names say; their instruction follows from that."""
    found = []
    for id in "abcd":
        episode = make_episode(id, 4, direction="left", session="20251204")
        text, source = choose_instruction(None, episode.labels, SIDES)
        found.append(replace(episode, instruction=text, instruction_source=source))
    return found


@pytest.fixture
def join(tmp_path, episodes):
    def join_them(content, these=episodes):
        file = tmp_path / ("labels.csv" if isinstance(content, str) else "labels.json")
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        joined, report = join_labels(these, file, SIDES)
        return {episode.id: episode for episode in joined}, report

    return join_them


class TestEpisodes:
    def test_the_table_wins_over_the_name_and_adds_labels(self, join):
        joined, report = join("episode,direction,boxes\na,right,2box\nb,,1box\nc,left,\n")
        assert joined["a"].labels == {"direction": "right", "session": "20251204", "boxes": "2box"}
        assert joined["b"].labels == {"direction": "left", "session": "20251204", "boxes": "1box"}
        assert joined["c"].labels == joined["d"].labels == {"direction": "left", "session": "20251204"}
        assert report.by_episode == ("boxes", "direction")
        assert report.corrected == {"direction": 1}

    def test_a_session_may_be_corrected(self, join):
        assert join("episode,session\na,20251205\n")[0]["a"].label("session") == "20251205"

    def test_a_corrected_direction_reaches_the_instruction(self, join):
        joined, _ = join("episode,direction\na,right\nb,unknown\n")
        assert [joined[id].instruction for id in "abc"] == ["Go right", "Go on", "Go left"]
        assert [joined[id].instruction_source for id in "abc"] == ["table", "default", "table"]

    def test_but_not_the_files_own(self, join, episodes):
        own = [replace(e, instruction="Keep left", instruction_source="file") for e in episodes]
        joined, _ = join("episode,direction\na,right\n", own)
        assert (joined["a"].instruction, joined["a"].instruction_source) == ("Keep left", "file")

    def test_an_instruction_in_the_table_wins_over_all(self, join, episodes):
        own = [replace(e, instruction="Keep left", instruction_source="file") for e in episodes]
        joined, report = join("episode,instruction\na,Turn round\nb,\n", own)
        assert (joined["a"].instruction, joined["a"].instruction_source) == ("Turn round", "table")
        assert (joined["b"].instruction, joined["b"].instruction_source) == ("Keep left", "file")
        assert "instruction" not in joined["a"].labels
        assert report.by_episode == ("instruction",)

    def test_the_split_keeps_the_corrected_labels_in_proportion(self, make_episode, tmp_path):
        episodes = [make_episode(f"{i:02}", 2, direction="left") for i in range(40)]
        (tmp_path / "labels.json").write_text(json.dumps({f"{i:02}": {"direction": "right"} for i in range(20)}))
        joined, _ = join_labels(episodes, tmp_path / "labels.json", SIDES)
        split = make_split(joined, SplitConfig(validation=0.2, test=0.2))
        assert [sum(int(id) < 20 for id in split.parts[part]) for part in PARTS] == [12, 4, 4]


class TestFrames:
    def test_numbers_are_numbers_and_nan_where_nothing_is_known(self, join):
        joined, report = join("episode,frame,distance\na,0,03\na,2,1e-1\nb,3,-2\n")
        np.testing.assert_array_equal(joined["a"].frame_labels["distance"], [3, np.nan, 0.1, np.nan])
        np.testing.assert_array_equal(joined["b"].frame_labels["distance"], [np.nan, np.nan, np.nan, -2])
        assert joined["c"].frame_labels["distance"].dtype == np.float64  # of one type in all episodes
        assert np.isnan(joined["c"].frame_labels["distance"]).all()
        assert report.by_frame == ("distance",)

    @pytest.mark.parametrize("word", ["far", "nan", "inf", "1_0"])
    def test_one_word_makes_the_column_text(self, join, word):
        joined, _ = join(f"episode,frame,distance\na,0,03\nb,3,{word}\n")
        assert joined["a"].frame_labels["distance"].tolist() == ["03", "unknown", "unknown", "unknown"]
        assert joined["b"].frame_labels["distance"].tolist() == ["unknown", "unknown", "unknown", word]
        assert joined["c"].frame_labels["distance"].tolist() == ["unknown"] * 4

    def test_true_and_false_are_words(self, join):
        joined, _ = join([{"episode": "a", "frame": t, "stop": t > 1} for t in range(4)])
        assert joined["a"].frame_labels["stop"].tolist() == ["false", "false", "true", "true"]

    def test_boxes_are_rows_of_numbers(self, join):
        joined, _ = join([{"episode": "a", "frame": 1, "box": [0, 0.5, 10, 20]}])
        box = joined["a"].frame_labels["box"]
        assert (box.shape, box.dtype) == ((4, 4), np.float64)
        np.testing.assert_array_equal(box[1], [0, 0.5, 10, 20])
        assert np.isnan(box[[0, 2, 3]]).all()
        assert joined["b"].frame_labels["box"].shape == (4, 4)

    @pytest.mark.parametrize("other", [[1, 2, 3], 7])
    def test_boxes_of_several_lengths_are_refused(self, join, other):
        rows = [{"episode": "a", "frame": 1, "box": [0, 1, 2, 3]}, {"episode": "b", "frame": 1, "box": other}]
        with pytest.raises(UserError, match="'box' holds lists of different lengths, or lists and single values"):
            join(rows)

    def test_a_table_may_label_episodes_and_frames(self, join):
        joined, report = join("episode,frame,direction,visible\na,,right,\na,0,,yes\n")
        assert joined["a"].label("direction") == "right"
        assert list(joined["a"].frame_labels) == ["visible"]
        assert (report.by_episode, report.by_frame) == (("direction",), ("visible",))


class TestReport:
    def test_what_does_not_fit_is_counted_and_told(self, join):
        _, report = join(
            "episode,frame,visible,direction\n"
            "a,0,yes,\na,0,yes,\na,1,no,\n"
            "b,,,right\nb.h5,,,right\nb,,,right\n"
            "z,0,yes,\nz,,,left\ny,,,left\n"
        )
        assert report.unknown_episodes == ("y", "z")
        assert report.duplicates == ("a frame 0", "b", "b")
        assert report.missing_episodes == ("c", "d")
        assert report.missing_frames == {"a": 2, "b": 4}
        assert report.describe() == [
            "labels from labels.csv: direction by episode; visible by frame",
            "  other than the files say: direction of 1",
            "  2 names that no good episode has: y, z",
            "  3 rows given twice: a frame 0, b, b",
            "  2 episodes without a row: c, d",
            "  6 frames without a row: a (2), b (4)",
        ]

    def test_a_whole_table_has_nothing_to_tell(self, join):
        _, report = join("episode,direction\na,left\nb,left\nc,left\nd,left\n")
        assert report.describe() == ["labels from labels.csv: direction by episode"]

    def test_many_names_are_counted_and_five_are_named(self, join):
        _, report = join("episode,x\na,1\n" + "".join(f"z{i},1\n" for i in range(7)))
        assert report.describe()[1] == "  7 names that no good episode has: z0, z1, z2, z3, z4, …"

    def test_a_table_of_other_data_is_refused_with_an_example_of_each(self, join):
        with pytest.raises(UserError, match=r"none of its 2 rows names an episode that is here.* 'x1', the data 'a'"):
            join("episode,direction\nx1,left\nx2,right\n")


class TestDataset:
    @pytest.fixture
    def open_here(self, tmp_path, write_episode, small):
        for index, name in enumerate(("a_left", "b_left", "c_right")):
            write_episode(tmp_path / "episodes" / f"episode_20251204_11351{index}_{name[2:]}.h5", seed=index)

        def open_it(table, **settings):
            (tmp_path / "labels.csv").write_text(table)
            config = DataConfig(
                root=str(tmp_path / "episodes"),
                pack_dir=str(tmp_path / "packed"),
                labels=str(tmp_path / "labels.csv"),
                instructions=SIDES,
                **settings,
            )
            return config, open_dataset(config, small)

        return open_it

    def test_an_opened_dataset_has_the_tables_labels_and_says_so(self, open_here):
        _, dataset = open_here("episode,direction,wall\nepisode_20251204_113510_left.h5,right,near\n")
        assert [(e.label("direction"), e.label("wall"), e.instruction) for e in dataset.episodes] == [
            ("right", "near", "Go right"),
            ("left", "unknown", "Go left"),
            ("right", "unknown", "Go right"),
        ]
        assert dataset.label_report.corrected == {"direction": 1}
        assert "labels from labels.csv: direction, wall by episode" in dataset.describe()
        assert any("2 episodes without a row" in line for line in dataset.describe())

    def test_labels_of_the_table_may_be_split_by(self, open_here):
        table = "episode,wall\nepisode_20251204_113510_left,near\n"
        config, dataset = open_here(table, split=SplitConfig(by=("wall",), group="session"))
        check_labels(config, dataset)
        config, dataset = open_here(table, split=SplitConfig(by=("wal",)))
        with pytest.raises(UserError, match=r"data\.split\.by: no episode has a label 'wal'; did you mean 'wall'"):
            check_labels(config, dataset)
        config, dataset = open_here(table, split=SplitConfig(group="sesion"))
        with pytest.raises(
            UserError, match=r"data\.split\.group: no episode has a label 'sesion'; did you mean 'session'"
        ):
            check_labels(config, dataset)
