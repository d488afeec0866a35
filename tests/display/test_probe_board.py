"""Histograms that say something, labels in a useful order, and a picture for every point."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.rows import RowId
from mobile_vla.display import probe_board
from mobile_vla.display.probe_board import ProbeBoard
from mobile_vla.sources.schema import BrokenEpisode
from tests.contexts import storing
from tests.lab import RandomFrames, make_episode

TAPS = {"context": TapSpec(shape=(6,)), "tokens": TapSpec(shape=(2, 3))}


@pytest.fixture
def store(tmp_path) -> Store:
    """Two episodes; what a variant shows is the first frames of `day/000`."""
    ids = [RowId(f"day/{e:03d}", f, "go", v) for e in range(2) for f in range(3) for v in ("own", "swap")]
    storing.make(tmp_path / "store", ids, taps=TAPS)
    return open_store(tmp_path / "store")


class Frames(RandomFrames):
    def read(self, episode, low, high):
        if episode.id == "day/001":
            raise BrokenEpisode("gone")
        return super().read(episode, low, high)


EPISODES = [make_episode(f"day/{e:03d}") for e in range(2)]


def test_lengths_that_differ_by_rounding_are_one_bar(store, tmp_path, monkeypatch):
    """As those of a layer norm's output; lengths that differ by a tenth are apart."""
    lengths = np.where(np.arange(len(store)) % 2, 11.313708, 11.313709)
    for step, factor in enumerate((1.0, np.where(np.arange(len(store)) < 6, 1.0, 1.1))):
        vectors = np.zeros((len(store), 6), np.float32)
        vectors[:, 0] = lengths * factor
        monkeypatch.setattr(Store, "vectors", lambda _, tap, vectors=vectors: vectors)
        with SummaryWriter(str(tmp_path / "board")) as writer:
            ProbeBoard(store, EPISODES, RandomFrames(), ()).add_histograms(writer, step)
    board = EventAccumulator(str(tmp_path / "board"), size_guidance={"histograms": 0})
    board.Reload()
    events = sorted(board.Histograms("contexts/context/norms"), key=lambda event: event.step)  # of two files
    told = [event.histogram_value for event in events]
    bars = [[count for count in histogram.bucket if count] for histogram in told]
    assert bars == [[len(store)], [6, len(store) - 6]]
    assert (told[0].min, told[0].max) == pytest.approx((11.313708 * 0.99, 11.313709 * 1.01))


def test_labels_that_rows_were_chosen_by_come_first(store):
    board = ProbeBoard(store, EPISODES, RandomFrames(), ("direction", "unheard_of"))
    (cloud,), notes = board.clouds("of now")
    assert (cloud.name, cloud.columns[:3]) == ("context of now", ["direction", "episode", "frame"])
    assert len(set(cloud.columns)) == len(cloud.columns) == 6 + len(store.labels)
    assert [texts[0] for texts in cloud.labels] == store.column("label.direction").tolist()
    assert notes == ["tokens is not in the Projector: a row of it is (2, 3), not one vector"]


def test_pictures_are_what_was_shown_and_grey_where_nothing_can_be_read(store):
    (cloud,), _ = ProbeBoard(store, EPISODES, Frames(), ()).clouds()
    rows = zip(cloud.pictures, store.column("episode"), store.column("frame"), store.column("variant"), strict=True)
    pictures = {(episode, int(frame), variant): picture for picture, episode, frame, variant in rows}
    for (episode, frame, variant), picture in pictures.items():
        if variant == "swap":
            np.testing.assert_array_equal(picture, pictures["day/000", frame, "own"])
        assert (picture == probe_board.GREY).all() == (episode == "day/001" and variant == "own")
    assert (pictures["day/000", 0, "own"] != pictures["day/000", 1, "own"]).any()


def test_rows_that_are_not_finite_are_left_out(store, tmp_path, monkeypatch):
    vectors = store.vectors("context")[:]
    vectors[3, 2], vectors[5, 0] = np.nan, np.inf
    monkeypatch.setattr(Store, "vectors", lambda *_: vectors)
    board = ProbeBoard(store, EPISODES, RandomFrames(), ())
    clouds, notes = board.clouds()
    assert len(clouds[0].vectors) == len(clouds[0].labels) == len(store) - 2
    assert f"the Projector shows {len(store) - 2} of {len(store)} rows of context" in notes
    with SummaryWriter(str(tmp_path)) as writer:
        board.add_histograms(writer, 0)
        vectors[:] = np.nan
        board.add_histograms(writer, 1)
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0})
    events.Reload()
    (told,) = events.Histograms("contexts/context/norms")
    assert (told.step, told.histogram_value.num) == (0, len(store) - 2)
    assert "context is not in the Projector: no row is finite" in board.clouds()[1]


def test_no_more_rows_than_a_page_can_show(store, monkeypatch):
    monkeypatch.setattr(probe_board, "MOST_ROWS", 5)
    (cloud,), notes = ProbeBoard(store, EPISODES, RandomFrames(), ()).clouds()
    assert len(cloud.vectors) == len(cloud.labels) == len(cloud.pictures) == 5
    assert f"the Projector shows 5 of {len(store)} rows of context" in notes
