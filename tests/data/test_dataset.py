"""A dataset opened: settings that fit each other, files left out by name, bounds, and what a user is told."""

import h5py
import numpy as np
import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data import dataset as dataset_module
from mobile_vla.data.dataset import DataConfig, fit_actions, open_dataset
from mobile_vla.sources.instructions import InstructionConfig
from tests.conftest import BOX_NAME, draw_frames, encode_jpeg


@pytest.fixture
def open_here(tmp_path, small):
    """Opens the files below `tmp_path`/episodes."""

    def open_it(**settings):
        config = DataConfig(
            **{
                "root": str(tmp_path / "episodes"),
                "pack_dir": str(tmp_path / "packed"),
                "max_fault_share": 1.0,
                **settings,
            },
        )
        return open_dataset(config, small)

    return open_it


def damage_gzip(path) -> None:
    """Overwrite the middle of one compressed chunk: the file opens, its frames cannot be read."""
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)


def damage_jpeg(path) -> None:
    with h5py.File(path, "r+") as file:
        file["observations/images"][4] = encode_jpeg(draw_frames(1)[0])[:60]


DAMAGES = {"v3": (damage_gzip, "frames 0 to 5 cannot be read"), "v5_jpeg": (damage_jpeg, "frame 4 is no readable JPEG")}


class TestFaults:
    @pytest.mark.parametrize("layout", DAMAGES)
    def test_damaged_frames_leave_the_whole_episode_out(self, tmp_path, write_episode, open_here, layout):
        write_episode(tmp_path / "episodes" / "good.h5")
        damage, reason = DAMAGES[layout]
        damage(write_episode(tmp_path / "episodes" / "bad.h5", layout))
        dataset = open_here()
        assert [episode.id for episode in dataset.episodes] == ["good"]
        (fault,) = dataset.faults
        assert fault.file.endswith("bad.h5")
        assert reason in fault.reason
        assert any("bad.h5" in line and reason in line for line in dataset.describe())

    @pytest.mark.parametrize("pack", [True, False])
    def test_error_stops_at_any_fault(self, tmp_path, write_episode, open_here, pack):
        write_episode(tmp_path / "episodes" / "good.h5")
        (tmp_path / "episodes" / "bad.h5").write_text("text")
        with pytest.raises(UserError, match=r"1 of 2 files are broken.*bad\.h5: is not HDF5.*data\.faults=skip leaves"):
            open_here(faults="error", pack=pack)

    def test_error_stops_at_damaged_frames_too(self, tmp_path, write_episode, open_here):
        write_episode(tmp_path / "episodes" / "good.h5")
        damage_gzip(write_episode(tmp_path / "episodes" / "bad.h5"))
        with pytest.raises(UserError, match=r"1 of 2 files are broken.*bad\.h5: frames 0 to 5 cannot be read"):
            open_here(faults="error")

    def test_all_damaged_is_an_error_even_if_faults_are_skipped(self, tmp_path, write_episode, open_here):
        damage_gzip(write_episode(tmp_path / "episodes" / "bad.h5"))
        with pytest.raises(UserError, match=r"1 of 1 files are broken.*bad\.h5: frames 0 to 5 cannot") as caught:
            open_here()
        assert "data.faults" not in str(caught.value)  # which would not help

    def test_short_episodes_are_refused_by_name(self, tmp_path, write_episode, open_here):
        write_episode(tmp_path / "episodes" / "long.h5", num_frames=17)
        write_episode(tmp_path / "episodes" / "short.h5", num_frames=16)
        with pytest.raises(UserError, match=r"1 of 2 are shorter: short \(16\)"):
            open_here(ends="drop", pack=False)


def test_a_user_reads_where_instructions_came_from(tmp_path, write_episode, open_here):
    folder = tmp_path / "episodes"
    layouts = {"a": "v5", "b": "v5", BOX_NAME: "v3", "c": "v3", "d": "v3"}
    for name, layout in layouts.items():
        write_episode(folder / f"{name}.h5", layout)
    dataset = open_here(pack=False, instructions=InstructionConfig(table={"left": "Go left"}))
    (line,) = dataset.describe()
    assert line == (
        "5 episodes, 30 frames, all examined; instructions: 2 from the file, 1 from the table, 2 by default "
        "(3 distinct)"
    )


def test_many_faults_are_counted_and_ten_are_named(tmp_path, write_episode, open_here):
    write_episode(tmp_path / "episodes" / "good.h5")
    for index in range(13):
        (tmp_path / "episodes" / f"bad_{index:02}.h5").write_text("text")
    lines = open_here(pack=False).describe()
    assert lines[1] == "13 files left out:"
    assert len(lines) == 2 + 10 + 1
    assert "3 more" in lines[-1]


class TestShare:
    """`skip` goes on only while the broken are few."""

    @pytest.fixture
    def five(self, tmp_path, write_episode):
        for name in "abcde":
            write_episode(tmp_path / "episodes" / f"{name}.h5", seed=ord(name))
        return tmp_path / "episodes"

    def test_as_many_as_allowed_are_left_out(self, five, open_here):
        (five / "a.h5").write_text("text")
        assert len(open_here(max_fault_share=0.2).episodes) == 4

    @pytest.mark.parametrize("pack", [True, False])
    def test_one_more_stops_with_names_reasons_and_the_setting(self, five, open_here, pack):
        """One is found by the scan and one by reading its frames: they count together."""
        (five / "a.h5").write_text("text")
        damage_gzip(five / "c.h5")
        expected = (
            r"2 of 5 files \(40%\) are broken, more than data\.max_fault_share=0\.39: .*a\.h5: is not HDF5.*; "
            r".*c\.h5: frames 0 to 5 cannot be read.*; mend or remove them, or raise data\.max_fault_share"
        )
        with pytest.raises(UserError, match=expected):
            open_here(max_fault_share=0.39, pack=pack)
        assert len(open_here(max_fault_share=0.4, pack=pack).episodes) == 3

    def test_too_many_are_told_before_frames_are_read(self, five, open_here, monkeypatch):
        (five / "a.h5").write_text("text")
        monkeypatch.setattr(dataset_module, "examine_all", None)
        with pytest.raises(UserError, match=r"1 of 5 files \(20%\) are broken"):
            open_here(max_fault_share=0.1)
        with pytest.raises(UserError, match="1 of 5 files are broken"):
            open_here(faults="error")

    def test_none_is_allowed_where_nothing_is_broken(self, five, open_here):
        assert len(open_here(max_fault_share=0.0).episodes) == 5

    def test_a_link_to_a_broken_file_is_not_counted_twice(self, five, open_here):
        (five / "a.h5").write_text("text")
        (five / "b2.h5").symlink_to(five / "a.h5")
        assert len(open_here(max_fault_share=0.2).faults) == 1


def test_the_largest_action_is_a_setting(tmp_path, write_episode, open_here):
    actions = np.full((6, 3), 11.0, np.float32)
    actions[4, 1] = -12.0
    write_episode(tmp_path / "episodes" / "fast.h5", actions=actions)
    write_episode(tmp_path / "episodes" / "good.h5")
    (fault,) = open_here().faults
    assert fault.reason == "actions: linear_y is -12 in row 4, beyond data.max_action=10"
    assert not open_here(max_action=12.0).faults


class TestConfig:
    def test_one_value_is_for_every_root_and_a_list_is_one_each(self, tmp_path):
        config = DataConfig(root=("a", "b"), action_shift=(0, -1), step_s=0.4, speed_scale=(None, 2.0))
        assert [(r.path.name, r.action_shift, r.step_s, r.speed_scale) for r in config.roots()] == [
            ("a", 0, 0.4, None),
            ("b", -1, 0.4, 2.0),
        ]

    @pytest.mark.parametrize("name", ["action_shift", "step_s", "speed_scale"])
    @pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0, 3.0)])
    def test_a_wrong_count_of_values(self, name, values):
        with pytest.raises(UserError, match=f"data.{name} has {len(values)} values for 2 roots"):
            DataConfig(root=("a", "b"), **{name: values})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"root": ()}, "expected one folder or several"),
            ({"components": ("linear_y", "sideways")}, "unknown action component 'sideways'"),
            ({"components": ("linear_x", "linear_x")}, "distinct names expected"),
            ({"bounds": {"angular_z": (-1.0, 1.0)}}, "data.bounds names 'angular_z', which is not one of"),
            ({"batch_size": 0}, "batch_size and span must be at least 1"),
            ({"span": 0}, "batch_size and span must be at least 1"),
            ({"num_workers": -1}, "num_workers at least 0"),
            ({"max_fault_share": 1.01}, r"data\.max_fault_share must lie in \[0, 1\], got 1.01"),
            ({"max_fault_share": -0.1}, r"data\.max_fault_share must lie in \[0, 1\]"),
            ({"max_fault_share": float("nan")}, r"data\.max_fault_share must lie in \[0, 1\]"),
            ({"max_action": 0.0}, r"data\.max_action must be positive, got 0.0"),
        ],
    )
    def test_settings_that_cannot_be(self, settings, message):
        with pytest.raises(UserError, match=message):
            DataConfig(**{"root": "a", **settings})

    def test_nothing_is_read_before_training_asks(self, tmp_path):
        DataConfig(root=str(tmp_path / "missing"))


class TestBounds:
    @pytest.fixture
    def training(self, make_episode):
        """Two episodes whose last action is a wild one that is not known to belong to any frame."""
        first = make_episode("a", [[0.0, -1.0, 0], [0.5, 0.2, 0], [99, 99, 99]], known=np.array([True, True, False]))
        return [first, make_episode("b", [[1.15, 0.7, 0], [0.1, 0.0, 0]])]

    def test_come_from_the_known_training_actions(self, training):
        space = fit_actions(DataConfig(root="a"), training)
        assert space.components == ("linear_x", "linear_y")
        assert (space.low, space.high) == (pytest.approx((0, -1)), pytest.approx((1.15, 0.7)))

    def test_and_from_these_episodes_alone(self, training):
        assert fit_actions(DataConfig(root="a"), training[:1]).high == pytest.approx((0.5, 0.2))

    def test_given_bounds_hold_for_their_component(self, training):
        space = fit_actions(DataConfig(root="a", bounds={"linear_y": (-1.15, 2.0)}), training)
        assert (space.low, space.high) == (pytest.approx((0, -1.15)), pytest.approx((1.15, 2.0)))

    def test_a_constant_component_is_named(self, training):
        with pytest.raises(UserError, match=r"'angular_z' has \(near\) zero range"):
            fit_actions(DataConfig(root="a", components=("linear_x", "angular_z")), training)

    def test_given_bounds_save_a_constant_component(self, training):
        config = DataConfig(root="a", components=("angular_z",), bounds={"angular_z": (-0.25, 0.25)})
        assert fit_actions(config, training).high == (0.25,)

    def test_no_known_action_at_all_is_the_users_mistake(self, make_episode):
        unknown = make_episode("a", 1, known=np.array([False]))
        with pytest.raises(UserError, match="action_shift"):
            fit_actions(DataConfig(root="a", action_shift=1), [unknown])
