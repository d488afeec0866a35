"""What every source of episodes must keep, over all members and one that is written here and found by import path.

All members hold the same recordings, which come from the hall's generator and not from any reader. So whatever the
package makes of them, batches, splits, a trained policy, must be the same to the bit, wherever they lie.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import mobile_vla as mv
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import DataConfig, Dataset, find_episodes, fit_actions, open_dataset
from mobile_vla.data.examination import content_key
from mobile_vla.data.splits import SplitConfig, make_split
from mobile_vla.doctor.case import Case
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.opening.configuration import Configuration
from mobile_vla.settings.typed import build
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.memory import MemorySource
from mobile_vla.sources.reader import EpisodeReader, Facts, Root, file_state
from mobile_vla.sources.schema import BrokenEpisode
from mobile_vla.sources.source import EpisodeSource
from mobile_vla.sources.synthetic.episode import Recording, make_task, record
from mobile_vla.sources.synthetic.naming import file_name, labels_of, recorded_at
from mobile_vla.sources.synthetic.source import SyntheticSource
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.survey.lenient import open_leniently
from mobile_vla.survey.survey import Survey, take_survey
from tests import lab
from tests.training.run_training import make_config

NUM, FRAMES, SIZE = 10, 9, (27, 48)
NAMED = ("boxes", "orientation", "direction", "pattern", "distance")  # the labels that a file's name says
HALL = {"episodes": NUM, "frames": FRAMES, "resolution": SIZE}
SPOILT = 3  # the episode that is broken on purpose


@dataclass(frozen=True, kw_only=True)
class ShelfSource(EpisodeSource):
    """Many episodes in one `.npz` file below each root: what a file of another project may look like."""

    prefix: str = "take"

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        found = []
        for root in roots:
            with np.load(root.path / "shelf.npz") as shelf:
                names = [key.split("/")[1] for key in shelf if key.startswith(f"{self.prefix}/")]
            for name in dict.fromkeys(names):
                path = root.path / "shelf.npz" / name
                found.append(ShelfReader(id=name, path=path, root=root, shelf=root.path / "shelf.npz", key=name))
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class ShelfReader(EpisodeReader):
    shelf: Path
    key: str

    def take(self, what: str) -> np.ndarray:
        with np.load(self.shelf) as shelf:
            return shelf[f"take/{self.key}/{what}"]

    def read(self) -> Facts:
        actions = self.take("actions")
        return Facts(
            num_frames=len(actions),
            resolution=SIZE,
            actions=actions,
            instruction=str(self.take("text")),
            labels=dict(self.take("labels").tolist()),
        )

    def frames(self, low: int, high: int) -> list[np.ndarray]:
        try:
            return list(self.take("frames")[low:high])
        except KeyError as error:
            raise BrokenEpisode(f"no frames in {error}") from error

    def identity(self) -> tuple[object, ...]:
        return ("shelf", *file_state(self.shelf), self.key)

    def file(self) -> Path:
        return self.shelf


def recordings(seed: int) -> dict[str, tuple[Recording, dict[str, str]]]:
    """id -> what is recorded, and its labels."""
    found = {}
    for index in range(NUM):
        task = make_task(seed, index, num_frames=FRAMES)
        labels = labels_of(task)
        id = Path(file_name(labels, recorded_at(seed, index), "flat")).stem
        found[id] = record(task, num_frames=FRAMES, resolution=SIZE), {name: labels[name] for name in NAMED}
    return found


RECORDED = {seed: recordings(seed) for seed in (0, 1)}
IDS = sorted(RECORDED[0])


def in_files(folder: Path, seed: int, spoilt: bool) -> DataConfig:
    if not folder.exists():
        write_episodes(SynthConfig(seed=seed, workers=1, **HALL), folder)
    if spoilt:
        file = folder / f"{IDS[SPOILT]}.h5"
        file.write_bytes(file.read_bytes()[:-100])
    return config(source=Hdf5Source(), root=str(folder))


def in_the_hall(folder: Path, seed: int, spoilt: bool) -> DataConfig:
    if spoilt:
        pytest.skip("nothing that can break")
    return config(source=SyntheticSource(seed=seed, **HALL))


def in_memory(folder: Path, seed: int, spoilt: bool) -> DataConfig:
    episodes = [
        {
            "id": id,
            "frames": one.frames,
            "actions": np.where(spoilt and id == IDS[SPOILT], np.nan, one.actions),
            "instruction": one.task.instruction,
            "labels": labels,
        }
        for id, (one, labels) in RECORDED[seed].items()
    ]
    return config(source=MemorySource(episodes))


def on_a_shelf(folder: Path, seed: int, spoilt: bool) -> DataConfig:
    folder.mkdir(exist_ok=True)
    content = {}
    for id, (one, labels) in RECORDED[seed].items():
        content |= {f"take/{id}/actions": one.actions, f"take/{id}/text": one.task.instruction}
        content |= {f"take/{id}/labels": np.array(list(labels.items()))}
        if not (spoilt and id == IDS[SPOILT]):
            content[f"take/{id}/frames"] = one.frames
    if spoilt or not (folder / "shelf.npz").exists():
        np.savez(folder / "shelf.npz", **content)
    return config(source={"name": f"{__name__}:ShelfSource"}, root=str(folder))


def config(**settings) -> DataConfig:
    windows = {"window": lab.WINDOW, "chunk": lab.CHUNK, "batch_size": 7, "span": 3}
    if isinstance(settings["source"], dict):
        return build(DataConfig, {**windows, **settings, "split": {"validation": 0.3, "test": 0.0}})
    return DataConfig(**windows, **settings, split=SplitConfig(validation=0.3, test=0.0))


MEMBERS = {"hdf5": in_files, "synthetic": in_the_hall, "memory": in_memory, "shelf": on_a_shelf}
Make = Callable[..., DataConfig]


@pytest.fixture(scope="module", params=MEMBERS)
def make(request, tmp_path_factory) -> Make:
    """`make(seed=0, spoilt=False, **data settings)`: the same episodes each time, those of a seed in one folder."""
    place = tmp_path_factory.mktemp(request.param)

    def make(seed: int = 0, spoilt: bool = False, **settings) -> DataConfig:
        folder = tmp_path_factory.mktemp("spoilt") / "x" if spoilt else place / str(seed)
        found = MEMBERS[request.param](folder, seed, spoilt)
        return replace(found, **{"pack_dir": str(place / "cache"), **settings})

    return make


@pytest.fixture(scope="module")
def opened(make, small_images) -> Dataset:
    return open_dataset(make(pack=False), small_images)


@pytest.fixture(scope="module")
def small_images() -> Preprocessing:
    return Preprocessing(size=lab.SIZE)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, small_images) -> Dataset:
    """The same recordings as HDF5 files."""
    return open_dataset(
        replace(in_files(tmp_path_factory.mktemp("reference") / "0", 0, False), pack=False), small_images
    )


def learn(data: EpisodeDataModule, folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a tiny policy after an epoch."""
    module = lab.make_module(lab.make_policy(), data)
    lab.make_trainer(folder).fit(module, datamodule=data)
    return module.policy.trained()


@pytest.fixture(scope="module")
def learned(reference, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The weights after an epoch on the reference."""
    settings = config(source=Hdf5Source(), root="unused", pack=False)
    found = learn(module_of(settings, reference), tmp_path_factory.mktemp("learned"))
    before = lab.make_policy().trained()
    assert not any(torch.equal(found[name], before[name]) for name in before if "head" in name)
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Survey:
    """What `stats` finds in the files."""
    folder = tmp_path_factory.mktemp("expected")
    settings = replace(in_files(folder / "0", 0, False), pack_dir=str(folder / "cache"))
    return take_survey(settings, open_leniently(settings))


def module_of(config: DataConfig, dataset: Dataset) -> EpisodeDataModule:
    split = make_split(dataset.episodes, config.split)
    space = fit_actions(config, split.of(dataset.episodes, "train"))
    return EpisodeDataModule(config, dataset, split, space, Prompter(offline_tokenizer(), lab.PROMPT))


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        for name in ("frames", "text_ids", "pair_frame", "pair_text", "windows", "chunks", "chunk_mask"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.pair_id == other.pair_id


class TestEpisodes:
    def test_are_what_was_recorded(self, opened):
        assert [episode.id for episode in opened.episodes] == IDS
        assert opened.faults == ()
        for episode in opened.episodes:
            recorded, labels = RECORDED[0][episode.id]
            assert episode.actions.dtype == np.float32
            np.testing.assert_array_equal(episode.actions, recorded.actions)
            assert (episode.num_frames, episode.resolution) == (FRAMES, SIZE)
            assert (episode.instruction, episode.instruction_source) == (recorded.task.instruction, "file")
            assert labels.items() <= episode.labels.items()
            assert all(isinstance(part, str) for label in episode.labels.items() for part in label)
            assert episode.action_names == ("linear_x", "linear_y", "angular_z")

    def test_any_span_of_frames_is_that_of_the_whole(self, opened):
        for episode in opened.episodes[:2]:
            whole = RECORDED[0][episode.id][0].frames
            for low, high in ((0, FRAMES), (0, 1), (3, 7), (FRAMES - 1, FRAMES)):
                frames = episode.reader.frames(low, high)
                assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
                np.testing.assert_array_equal(np.stack(frames), whole[low:high])
                frames[0].fill(7)  # who reads may write
            with episode.reader.opened() as held:
                np.testing.assert_array_equal(np.stack(held.frames(2, 4)), whole[2:4])
                np.testing.assert_array_equal(held.actions(), RECORDED[0][episode.id][0].actions)

    def test_are_found_in_the_same_order_with_the_same_identity_again(self, make):
        first, again, other = (find_episodes(make(seed=seed)).episodes for seed in (0, 0, 1))
        assert [episode.id for episode in first] == [episode.id for episode in again]
        keys = [content_key(episode) for episode in first]
        assert keys == [content_key(episode) for episode in again]
        assert len(set(keys)) == NUM
        assert not set(keys) & {content_key(episode) for episode in other}
        assert len({episode.place for episode in first}) == NUM

    def test_have_the_fingerprint_of_their_content_wherever_they_lie(self, opened, reference):
        prints = [episode.fingerprint for episode in opened.episodes]
        assert prints == [episode.fingerprint for episode in reference.episodes]
        assert len(set(prints)) == NUM

    def test_travel_to_other_processes(self, opened):
        for episode in pickle.loads(pickle.dumps(opened.episodes[:2])):
            np.testing.assert_array_equal(episode.reader.frames(1, 2)[0], RECORDED[0][episode.id][0].frames[1])

    def test_that_are_broken_do_not_stop_the_others(self, make, small_images, tmp_path):
        settings = {"pack_dir": str(tmp_path / "cache")}
        dataset = open_dataset(make(spoilt=True, **settings), small_images)
        assert [episode.id for episode in dataset.episodes] == IDS[:SPOILT] + IDS[SPOILT + 1 :]
        (fault,) = dataset.faults
        assert IDS[SPOILT] in fault.file
        assert fault.reason
        with pytest.raises(UserError, match="1 of 10 files are broken"):
            open_dataset(make(spoilt=True, faults="error", **settings), small_images)


class TestUse:
    def test_batches_are_the_same_from_memory_copies_and_workers(self, make, opened, reference, small_images):
        expected = list(module_of(make(pack=False), reference).loader("train"))
        assert_same(list(module_of(make(pack=False), opened).loader("train")), expected)
        packed = open_dataset(make(pack=True), small_images)
        workers = module_of(make(pack=True, num_workers=2), packed)
        assert_same(list(workers.loader("train")), expected)
        again = open_dataset(make(pack=True), small_images)
        assert_same(list(module_of(make(pack=True), again).loader("train")), expected)

    def test_the_split_is_the_same(self, make, opened, reference):
        assert make_split(opened.episodes, make().split) == make_split(reference.episodes, make().split)

    def test_a_policy_learns_the_same(self, make, opened, learned, tmp_path):
        found = learn(module_of(make(pack=False), opened), tmp_path)
        assert all(torch.equal(found[name], learned[name]) for name in learned)

    def test_stats_describe_the_same(self, make, expected):
        settings = make()
        found = take_survey(settings, open_leniently(settings))
        assert found.num_frames == NUM * FRAMES
        assert found.actions == expected.actions
        assert found.counts.instructions == expected.counts.instructions
        assert found.counts.labels["direction"] == expected.counts.labels["direction"]
        assert (found.counts.bytes is None) == all(e.reader.file() is None for e in found.episodes)

    def test_doctor_reads_the_same(self, make):
        config = replace(make_config("unused"), data=make(pack=False))
        recorded = Case.of(Configuration.open(config), with_data=True).recorded
        assert len(recorded.episodes) == NUM
        ids = dict.fromkeys(id.episode for id in recorded.batch.pair_id)
        first = RECORDED[0][next(iter(ids))][0]
        starts = config.data.starts(FRAMES)
        np.testing.assert_array_equal(np.stack(recorded.raw), first.frames[starts[-1] : starts[-1] + 4])


def test_open_dataset_takes_every_kind(tmp_path):
    folder = tmp_path / "files"
    files = mv.open_dataset(Path(in_files(folder, 0, False).root))
    shelf = on_a_shelf(tmp_path / "shelf", 0, False)
    others = [
        mv.open_dataset(SyntheticSource(**HALL)),
        mv.open_dataset(in_memory(folder, 0, False).source),
        mv.open_dataset(in_memory(folder, 0, False).source.episodes),
        mv.open_dataset(shelf.root, source=shelf.source),
    ]
    for other in others:
        assert [one.id for one in other] == IDS
        assert other.split == files.split
        np.testing.assert_array_equal(other.label("direction"), files.label("direction"))
        np.testing.assert_array_equal(other[2].actions, files[2].actions)
        np.testing.assert_array_equal(np.stack(other[2].frames[1:8:3]), np.stack(files[2].frames[1:8:3]))


class TestOtherRobots:
    """Other action components, frames of several sizes, no labels: all of it is the source's own affair."""

    NAMES = ("shoulder", "elbow")

    @pytest.fixture
    def source(self) -> MemorySource:
        rng = np.random.default_rng(0)
        episodes = [
            {
                "frames": [rng.integers(0, 256, (20 + i % 2, 30, 3), np.uint8) for i in range(num_frames)],
                "actions": rng.normal(size=(num_frames, 2)),
            }
            for num_frames in (6, 9, 5, 8, 7, 6)
        ]
        return MemorySource(episodes, self.NAMES)

    def test_are_opened_with_all_their_components(self, source):
        data = mv.open_dataset(source)
        assert data.components == self.NAMES
        assert (len(data), data[1].actions.shape, data[1].frames[1].shape) == (6, (9, 2), (21, 30, 3))
        np.testing.assert_allclose(data[1].actions, source.episodes[1]["actions"], rtol=1e-6)
        assert mv.open_dataset(source, components=("elbow",))[0].actions.shape == (6, 1)
        with pytest.raises(UserError, match=r"^components: unknown action component 'wrist'.*'shoulder', 'elbow'"):
            mv.open_dataset(source, components=("wrist",))

    def test_make_batches_and_a_survey(self, source, small_images, tmp_path):
        settings = replace(config(source=source, components=self.NAMES), pack_dir=str(tmp_path))
        data = module_of(settings, open_dataset(settings, small_images))
        batch = next(iter(data.loader("train")))
        assert batch.chunks.shape == (7, lab.WINDOW, lab.CHUNK, 2)
        survey = take_survey(settings, open_leniently(settings))
        assert list(survey.actions.components) == list(self.NAMES)
        assert survey.trajectories is None
        assert survey.counts.instruction_sources["default"] == 6
        assert isinstance(data.actions, ActionSpace)


class TestNamesOfSources:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"name": "hdf6"}, "data.source.name='hdf6': no such member: did you mean 'hdf5'"),
            ({"name": "tests.sources:Nothing"}, "data.source.name='tests.sources:Nothing': .*no attribute 'Nothing'"),
            ({"name": f"{__name__}:ShelfReader"}, "expected a subclass of mobile_vla.sources.source.EpisodeSource"),
            ({"name": f"{__name__}:ShelfSource", "colour": 1}, "unknown setting 'data.source.colour'"),
            ({"name": "synthetic", "episodes": 0}, "data.source.episodes: a whole number of at least 1 expected"),
            ({"name": "synthetic", "world": "empty"}, "data.source.world: expected one of 'full', .*got 'empty'"),
        ],
    )
    def test_mistakes_name_the_setting(self, settings, message):
        with pytest.raises(UserError, match=message):
            build(DataConfig, {"root": "episodes", "source": settings}, "data")

    def test_settings_that_name_no_source_are_of_files(self):
        assert build(DataConfig, {"root": "episodes"}, "data").source == Hdf5Source()

    def test_folders_are_named_where_they_are_read_and_only_there(self):
        with pytest.raises(UserError, match=r"data\.root=None: expected one folder or several"):
            build(DataConfig, {"root": None}, "data")
        with pytest.raises(UserError, match=r"data\.root='x': data\.source\.name=synthetic reads no folders"):
            build(DataConfig, {"root": "x", "source": {"name": "synthetic"}}, "data")


GOOD = {"num_frames": 3, "resolution": (4, 6), "actions": np.zeros((3, 3))}


class TestReaders:
    """What a reader gets wrong costs its episode, with a reason, and not the run."""

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"num_frames": 0, "actions": np.zeros((0, 3))}, "no frames"),
            ({"actions": np.zeros((3, 2))}, r"actions: expected \(N, 3\) numbers, got \(3, 2\) float64"),
            ({"actions": np.full((3, 3), "go")}, "actions: expected .* numbers"),
            ({"actions": np.full((3, 3), np.inf)}, "not finite in 3 of 3 rows"),
            ({"actions": np.full((3, 3), 12)}, "linear_x is 12 in row 0, beyond data.max_action=10"),
            ({"num_frames": 4}, "4 frames but 3 actions"),
            ({"labels": {"scene": 3}}, "label 'scene': expected text, got int 3"),
            ({"instruction": ("go left", "go left", "stop")}, "changes at frame 2 .'go left', then 'stop'"),
            ({"instruction": (1, 2, 3)}, "instruction: expected text, got int 1"),
        ],
    )
    def test_facts_that_cannot_be_right(self, facts, reason):
        with pytest.raises(UserError, match=rf"all 1 files are broken; the first, .*: .*{reason}"):
            find_episodes(config(source=Saying(Facts(**{**GOOD, **facts})), root="x"))

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [
            ([np.zeros((4, 6, 3))] * 3, r"frame 0: expected \(height, width, 3\) uint8, got \(4, 6, 3\) float64"),
            ([np.zeros((4, 6), np.uint8)] * 3, r"frame 0: .*got \(4, 6\) uint8"),
            ([np.zeros((4, 6, 3), np.uint8)] * 2, "frames 0 to 2: expected 3, got 2"),
        ],
    )
    def test_frames_that_are_none(self, frames, reason, small_images, tmp_path):
        settings = config(source=Saying(Facts(**GOOD), frames), root="x")
        with pytest.raises(UserError, match=reason):
            open_dataset(replace(settings, pack_dir=str(tmp_path), bounds=BOUNDS), small_images)

    def test_an_instruction_that_is_the_same_at_every_frame_is_the_episodes(self):
        said = Facts(**GOOD, instruction=(" go ", " go ", " go "))
        (episode,) = find_episodes(config(source=Saying(said), root="x")).episodes
        assert (episode.instruction, episode.instruction_source) == ("go", "file")

    def test_ids_must_be_told_apart(self):
        with pytest.raises(UserError, match=r"data\.source: 2 episodes are called 'said'; each needs its own id"):
            find_episodes(config(source=Saying(Facts(**GOOD), number=2), root="x"))


BOUNDS = {"linear_x": (-1.0, 1.0), "linear_y": (-1.0, 1.0)}


class Saying(EpisodeSource):
    """Episodes that are what they are said to be."""

    def __init__(self, facts: Facts, frames: Sequence[np.ndarray] = (), number: int = 1):
        object.__setattr__(self, "readers", [Said(facts, frames) for _ in range(number)])

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        return self.readers


class Said(EpisodeReader):
    def __init__(self, facts: Facts, frames: Sequence[np.ndarray]):
        super().__init__(id="said", path=Path("said"))
        object.__setattr__(self, "said", (facts, list(frames)))

    def read(self) -> Facts:
        return self.said[0]

    def frames(self, low: int, high: int) -> list[np.ndarray]:
        return self.said[1][low:high]

    def identity(self) -> tuple[object, ...]:
        return ("said", id(self))


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "^episodes: expected at least one, got none"),
        ([3], r"^episodes\[0\]: expected a mapping of frames, actions, .*got int"),
        ([{"frame": 1}], r"^episodes\[0\]: unknown key 'frame': did you mean 'frames'"),
        ([{"actions": np.zeros((2, 3))}], r"^episodes\[0\]\.frames: expected .*got none"),
        (
            [{"frames": np.zeros((2, 4, 4, 3))}],
            r"^episodes\[0\]\.frames\[0\]: expected .*uint8, got \(4, 4, 3\) float64",
        ),
        ([{"frames": np.zeros((4, 4, 3), np.uint8)}], r"frames: expected \(N, .*got \(4, 4, 3\) uint8"),
        ([{"frames": []}], r"frames: expected at least one frame"),
        ([{"frames": np.zeros((2, 4, 4, 3), np.uint8)}], r"actions: expected \(N, A\) numbers, got none"),
        ([{"frames": np.zeros((2, 4, 4, 3), np.uint8), "actions": np.zeros((3, 3))}], r"actions: expected \(2, 3\)"),
        (2 * [{**GOOD, "num_frames": 0}], "unknown key 'num_frames'"),
    ],
)
def test_arrays_that_are_no_episode_are_refused_by_name(episodes, message):
    with pytest.raises(UserError, match=message):
        MemorySource(episodes)


@pytest.mark.parametrize("change", ["frames", "actions"])
def test_arrays_of_the_same_name_are_told_apart_by_their_content(change):
    """Or a notebook that changed its arrays would be given the packed copies of the old ones."""
    episode = {"frames": np.zeros((2, 4, 4, 3), np.uint8), "actions": np.zeros((2, 3))}
    other = {**episode, change: episode[change] + 1}
    keys = [
        content_key(found)
        for content in (episode, episode, other)
        for found in find_episodes(config(source=MemorySource([content]))).episodes
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("said", "expected"), [(None, (0.4, 1.0)), (0.1, (0.1, 0.1))])
def test_what_a_source_knows_of_time_and_speed_holds_unless_the_settings_say_otherwise(said, expected):
    settings = config(source=SyntheticSource(**HALL), step_s=said, speed_scale=said)
    assert {(episode.step_s, episode.speed_scale) for episode in find_episodes(settings).episodes} == {expected}


def test_a_changed_file_has_another_identity_and_an_episode_that_is_gone_says_so(tmp_path):
    (episode, *_) = find_episodes(in_files(tmp_path / "e", 0, False)).episodes
    before = content_key(episode)
    with h5py.File(episode.path, "r+") as file:
        file["actions"][0, 0] = 0.5
    assert content_key(episode) != before
    episode.path.unlink()
    with pytest.raises(BrokenEpisode, match="is not there any more"):
        content_key(episode)


@pytest.mark.parametrize("setting", [{"noise": 1.0}, {"resolution": (27, 49)}, {"seed": 2}, {"world": "left_only"}])
def test_whatever_changes_a_frame_of_the_hall_changes_its_identity(setting):
    def keys(**settings) -> set[str]:
        return {content_key(episode) for episode in find_episodes(config(source=SyntheticSource(**settings))).episodes}

    assert not keys(**HALL) & keys(**{**HALL, **setting})
    assert keys(**HALL) < keys(**{**HALL, "episodes": NUM + 2}), "more episodes are the same and some more"


@pytest.mark.parametrize("layout", ["flat", "nested", "jpeg"])
def test_the_hall_is_what_its_files_say(layout, tmp_path):
    """Labels, also those of attributes; frames with noise, and behind JPEG; whatever span of them is read."""
    settings = {**HALL, "episodes": 3, "layout": layout, "noise": 2.0, "seed": 5}
    write_episodes(SynthConfig(workers=1, **settings), tmp_path)
    said, read = (
        find_episodes(config(source=source, root=root)).episodes
        for source, root in ((SyntheticSource(**settings), None), (Hdf5Source(), str(tmp_path)))
    )
    for one, other in zip(said, read, strict=True):
        assert (one.id, one.labels, one.instruction) == (other.id, other.labels, other.instruction)
        assert (one.layout, one.encoding, one.resolution) == (other.layout, other.encoding, other.resolution)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(np.stack(one.reader.frames(3, 6)), np.stack(other.reader.frames(3, 6)))
