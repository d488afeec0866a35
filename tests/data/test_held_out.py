"""Training episodes are recognised under any name; a run's own are found again; what changed is listed."""

import shutil
from pathlib import Path

import h5py
import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig, open_dataset
from mobile_vla.data.held_out import check_unchanged, locate, refuse_trained
from mobile_vla.data.splits import SplitConfig, load_split, make_split, save_split
from mobile_vla.sources.instructions import InstructionConfig

NUM_EPISODES = 14


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, write_episode):
    """A folder of episodes that differ."""
    folder = tmp_path_factory.mktemp("recorded")
    for index in range(NUM_EPISODES):
        write_episode(folder / f"e{index:02}.h5", num_frames=3, seed=index)
    return folder


@pytest.fixture
def folder(recorded, tmp_path):
    return Path(shutil.copytree(recorded, tmp_path / "episodes"))


@pytest.fixture
def open_folder(small, tmp_path):
    def open_it(*folders, **settings):
        roots = tuple(map(str, folders))
        config = DataConfig(root=roots, pack=False, pack_dir=str(tmp_path / "packed"), **settings)
        return list(open_dataset(config, small).episodes)

    return open_it


@pytest.fixture
def split(open_folder, folder, tmp_path):
    """As it was stored with a run that was trained on the folder."""
    episodes = open_folder(folder)
    config = SplitConfig(validation=0.2, test=0.2)
    save_split(make_split(episodes, config), episodes, config, tmp_path / "split.json")
    return load_split(tmp_path / "split.json")


def rewrite(source: Path, target: Path) -> None:
    """The same frames and actions in a file with other bytes: not compressed, another instruction."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new["images"], new["actions"] = old["images"][:], old["actions"][:]
        new.attrs["task"] = "something else"


class TestTrained:
    @pytest.mark.parametrize("how", ["copied", "renamed", "linked", "rewritten"])
    def test_a_training_episode_under_another_name_is_caught(self, split, folder, tmp_path, open_folder, how):
        trained = split.parts["train"][2]
        source, target = folder / f"{trained}.h5", tmp_path / "new" / "a_20260101_right.h5"
        target.parent.mkdir()
        {
            "copied": shutil.copy,
            "renamed": shutil.move,
            "linked": lambda a, b: b.symlink_to(a),
            "rewritten": rewrite,
        }[how](source, target)
        with pytest.raises(
            UserError,
            match=rf"1 of 1 episodes cannot be called held out.*a_20260101_right\.h5 \(trained on as {trained}\)",
        ):
            refuse_trained(split, open_folder(tmp_path / "new"))

    def test_all_are_counted_and_ten_are_named(self, split, folder, tmp_path, open_folder, write_episode):
        for index in range(NUM_EPISODES):
            write_episode(folder / f"more{index}.h5", num_frames=3, seed=100 + index)
        config = SplitConfig(validation=0.1, test=0.0)
        episodes = open_folder(folder)
        save_split(make_split(episodes, config), episodes, config, tmp_path / "split.json")
        with pytest.raises(UserError, match="25 of 28 episodes cannot") as caught:
            refuse_trained(load_split(tmp_path / "split.json"), episodes)
        assert str(caught.value).count("(trained on as") == 10
        assert "and 15 more" in str(caught.value)

    def test_what_the_run_was_not_trained_on_passes(self, split, tmp_path, open_folder, write_episode, folder):
        for part in ("validation", "test"):
            for id in split.parts[part]:
                shutil.copytree(folder, tmp_path / "held", ignore=lambda _, names: names, dirs_exist_ok=True)
                shutil.copy(folder / f"{id}.h5", tmp_path / "held")
        # a new recording under the name of a training episode
        write_episode(tmp_path / "held" / f"{split.parts['train'][0]}.h5", num_frames=3, seed=77)
        refuse_trained(split, open_folder(tmp_path / "held"))


class TestLocate:
    def test_the_runs_own_episodes_are_found_under_any_name_in_the_order_of_its_split(self, split, folder, open_folder):
        before = locate(split, open_folder(folder), "validation")
        assert [e.id for e in before] == list(split.parts["validation"])
        for index, id in enumerate(split.parts["validation"]):
            (folder / f"{id}.h5").rename(folder / f"z{9 - index}.h5")
        after = locate(split, open_folder(folder)[::-1], "validation")
        assert [e.id for e in after] == [f"z{9 - index}" for index in range(len(before))]
        assert [e.fingerprint for e in after] == [e.fingerprint for e in before]

    def test_names_that_were_exchanged_do_not_exchange_episodes(self, split, folder, open_folder):
        held, trained = split.parts["validation"][0], split.parts["train"][0]
        for old, new in ((held, "x"), (trained, held), ("x", trained)):
            (folder / f"{old}.h5").rename(folder / f"{new}.h5")
        assert locate(split, open_folder(folder), "validation")[0].id == trained

    def test_what_is_gone_or_changed_is_listed(self, split, folder, open_folder, write_episode):
        first, second, *_ = split.parts["validation"]
        (folder / f"{first}.h5").unlink()
        write_episode(folder / f"{second}.h5", num_frames=3, seed=99)
        message = rf"2 of the 3 episodes of the run's validation split are not .*: {first}, {second} \(changed since\);"
        with pytest.raises(UserError, match=message):
            locate(split, open_folder(folder), "validation")

    def test_many_are_counted_and_five_are_named(self, split, folder, open_folder, write_episode):
        for id in split.parts["train"]:
            (folder / f"{id}.h5").unlink()
        with pytest.raises(UserError, match="8 of the 8 episodes of the run's train split") as caught:
            locate(split, open_folder(folder), "train")
        assert sum(id in str(caught.value) for id in split.parts["train"]) == 5
        assert "and 3 more" in str(caught.value)

    def test_copies_within_a_part_stay_themselves(self, folder, tmp_path, open_folder):
        shutil.copy(folder / "e03.h5", folder / "a_copy.h5")
        episodes = open_folder(folder)
        config = SplitConfig(validation=0.2, test=0.0)
        save_split(make_split(episodes, config), episodes, config, tmp_path / "split.json")
        split = load_split(tmp_path / "split.json")
        for part in ("train", "validation"):
            assert [e.id for e in locate(split, open_folder(folder), part)] == list(split.parts[part])
        (folder / "a_copy.h5").rename(folder / "z_copy.h5")
        part = "train" if "e03" in split.parts["train"] else "validation"
        found = [e.id for e in locate(split, open_folder(folder), part)]
        assert found == [{"a_copy": "z_copy"}.get(id, id) for id in split.parts[part]]
        (folder / "z_copy.h5").unlink()
        with pytest.raises(UserError, match=rf"1 of the {len(found)} episodes of the run's {part} split.*: a_copy;"):
            locate(split, open_folder(folder), part)


class TestUnchanged:
    def test_new_episodes_are_returned_and_nothing_else(self, split, folder, open_folder, write_episode):
        assert check_unchanged(split, open_folder(folder)) == []
        write_episode(folder / "new.h5", num_frames=3, seed=99)
        assert [e.id for e in check_unchanged(split, open_folder(folder))] == ["new"]

    @pytest.mark.parametrize("part", ["train", "validation", "test"])
    def test_what_changed_is_listed_by_kind(self, split, folder, open_folder, write_episode, part):
        first, second, third = split.parts[part][:3]
        (folder / f"{first}.h5").unlink()
        (folder / f"{second}.h5").rename(folder / "other.h5")
        write_episode(folder / f"{third}.h5", num_frames=3, seed=99)
        with pytest.raises(UserError, match="3 of the 14 episodes of the run changed since it began") as caught:
            check_unchanged(split, open_folder(folder))
        for told in (f"{first} (gone)", f"{second} (now called other)", f"{third} (other content)"):
            assert told in str(caught.value)

    def test_another_instruction_is_another_training(self, split, folder, open_folder):
        settings = {"instructions": InstructionConfig(default="Go on")}
        with pytest.raises(
            UserError, match=r"14 of the 14.*instruction 'Navigate to the target location' is now 'Go on'"
        ):
            check_unchanged(split, open_folder(folder, **settings))
