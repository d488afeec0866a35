"""The table of sums gives what slow loops over every entry give."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_vla.core.actions import ActionSpace
from mobile_vla.evaluation.losses import huber
from mobile_vla.evaluation.metrics import EpisodeSums, label_names

DELTA = 0.4
THREE = ActionSpace(components=("linear_x", "linear_y", "angular_z"), low=(0, -1.15, -2.0), high=(1.15, 0.8, 2.0))


def batches(lab, episodes, space, **settings):
    """All windows of all episodes in batches that cut episodes apart, and random predictions for them."""
    data = lab.make_data(episodes, num_validation=len(episodes), batch_size=5, **settings)
    data.actions = space
    assembler = data.assembler(episodes, with_frames=False)
    generator = torch.Generator().manual_seed(2)
    for planned in data.plan("validation").batches(0):
        batch = assembler(assembler.requests(planned))
        yield batch, torch.rand(batch.chunks.shape, generator=generator) * 2.4 - 1.2


class Slow:
    """Every number by plain loops, entry by entry, in Python floats."""

    def __init__(self, episodes, space, step_s: float, scale: float, turning: bool):
        self.episodes = {e.id: e for e in episodes}
        self.space, self.step_s, self.scale, self.turning = space, step_s, scale, turning
        self.sums = defaultdict(float)

    def update(self, batch, predicted):
        space = self.space
        for s in range(batch.num_windows):
            episode = self.episodes[batch.window_pairs(s)[0].episode]
            groups = [("all",), ("direction", episode.labels["direction"])]
            for g in groups:
                self.sums[(*g, "windows")] += 1
                self.sums[(*g, "episode", episode.id)] = 1
            for w in range(batch.windows.shape[1]):
                for c in range(batch.chunks.shape[2]):
                    if not batch.chunk_mask[s, w, c]:
                        continue
                    for g in groups:
                        self.sums[(*g, "entries")] += 1
                    self.sums[("step", c)] += 1
                    for a, name in enumerate(space.components):
                        guess, truth = float(predicted[s, w, c, a]), float(batch.chunks[s, w, c, a])
                        d = abs(guess - truth)
                        loss = d * d / 2 if d <= DELTA else DELTA * (d - DELTA / 2)
                        half_range = (space.high[a] - space.low[a]) / 2
                        for key in [*groups, ("component", name), ("horizon", c)]:
                            self.sums[(*key, "loss")] += loss
                            self.sums[(*key, "squared")] += (d * half_range) ** 2
                    lateral = space.components.index("linear_y")
                    low, high = space.low[lateral], space.high[lateral]
                    truth = low + (float(batch.chunks[s, w, c, lateral]) + 1) / 2 * (high - low)
                    guess = low + (float(predicted[s, w, c, lateral]) + 1) / 2 * (high - low)
                    if abs(truth) > 0.1 * max(abs(low), abs(high)):
                        for g in groups:
                            self.sums[(*g, "signs")] += 1
                            self.sums[(*g, "right")] += (truth > 0) == (guess > 0)
                if batch.chunk_mask[s, w].all():
                    gap = math.dist(self.walk(predicted[s, w]), self.walk(batch.chunks[s, w]))
                    for g in groups:
                        self.sums[(*g, "chunks")] += 1
                        self.sums[(*g, "gap")] += gap

    def walk(self, chunk):
        x = y = heading = 0.0
        for row in chunk.tolist():
            v = {
                name: low + (value + 1) / 2 * (high - low)
                for name, value, low, high in zip(
                    self.space.components, row, self.space.low, self.space.high, strict=True
                )
            }
            forward, left = v["linear_x"] * self.step_s * self.scale, v["linear_y"] * self.step_s * self.scale
            x += forward * math.cos(heading) - left * math.sin(heading)
            y += forward * math.sin(heading) + left * math.cos(heading)
            heading += v.get("angular_z", 0.0) * self.step_s * self.turning
        return x, y

    def group(self, *key):
        s, parts = self.sums, len(self.space.components)
        return {
            "loss": s[(*key, "loss")] / (s[(*key, "entries")] * parts),
            "rmse": math.sqrt(s[(*key, "squared")] / (s[(*key, "entries")] * parts)),
            "sign_accuracy": s[(*key, "right")] / s[(*key, "signs")],
            "displacement_error": s[(*key, "gap")] / s[(*key, "chunks")],
            "denominators": {
                "episodes": sum(k[: len(key)] == key and "episode" in k for k in s),
                "windows": s[(*key, "windows")],
                "entries": s[(*key, "entries")],
                "lateral_entries": s[(*key, "signs")],
                "whole_chunks": s[(*key, "chunks")],
            },
        }


def assert_close(found: dict, expected: dict):
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-5), name


@pytest.mark.parametrize(
    ("space", "known"), [("two", {}), ("three", {}), ("three", {"step_s": 0.4, "speed_scale": 0.5})]
)
def test_every_number_equals_slow_loops(lab, space, known):
    space = lab.space if space == "two" else THREE
    unknown = np.array([True] * 9)
    unknown[[0, 5]] = False
    episodes = [
        lab.make_episode(f"e{i}", n, text, seed=i, **known, **extra)
        for i, (n, text, extra) in enumerate(
            [(9, lab.left, {}), (3, lab.right, {}), (12, lab.right, {}), (9, lab.left_too, {"action_known": unknown})]
        )
    ]
    sums = EpisodeSums(episodes, space, lab.chunk, DELTA)
    metres = bool(known)
    fastest = max(abs(b) for i in range(2) for b in (space.low[i], space.high[i]))
    slow = Slow(
        episodes,
        space,
        known.get("step_s", 1.0),
        known.get("speed_scale", 1 / fastest),
        turning=metres,
    )
    for batch, predicted in batches(lab, episodes, space, components=space.components):
        sums.update(predicted, batch)
        slow.update(batch, predicted)
    summary = sums.summary(sums.compute(), ["direction"])
    assert summary["displacement_unit"] == ("m" if metres else "steps")
    assert_close(summary, slow.group("all"))
    assert summary["denominators"]["episodes"] == 4
    for side in ("left", "right"):
        assert_close(summary["by_label"]["direction"][side], slow.group("direction", side))
    s = slow.sums
    for name in space.components:
        entries = s[("all", "entries")]
        assert_close(
            summary["by_component"][name],
            {
                "loss": s[("component", name, "loss")] / entries,
                "rmse": math.sqrt(s[("component", name, "squared")] / entries),
            },
        )
    for c in range(lab.chunk):
        count = s[("step", c)] * len(space.components)
        assert_close(
            summary["by_horizon"][c],
            {
                "loss": s[("horizon", c, "loss")] / count,
                "rmse": math.sqrt(s[("horizon", c, "squared")] / count),
                "entries": s[("step", c)],
            },
        )


def test_frames_with_a_label_equal_slow_loops_over_their_chunks_alone(lab):
    """The reference sees the same batches with the chunks of all other frames masked."""
    lengths, rng = (9, 3, 12), np.random.default_rng(3)
    episodes = [
        lab.make_episode(
            f"e{i}",
            length,
            seed=i,
            frame_labels={
                "near": rng.choice([0.5, 1.0, np.nan], length),
                "direction": rng.choice(["left", "right"], length),
            },
        )
        for i, length in enumerate(lengths)
    ]
    episodes[2] = replace(episodes[2], frame_labels={"near": episodes[2].frame_labels["near"]})
    frame_values = {
        "near": {"0.5": lambda v: v == 0.5, "1": lambda v: v == 1, "unknown": np.isnan},
        "direction_by_frame": {"left": lambda v: v == "left", "right": lambda v: v == "right"},
    }
    known = {episode.id: episode for episode in episodes}

    def here(pair, name, fits):
        values = known[pair.episode].frame_labels.get(name.removesuffix("_by_frame"))
        return values is not None and bool(fits(values[pair.frame]))

    sums = lab.make_sums(episodes, DELTA)
    slow = defaultdict(lambda: Slow(episodes, lab.space, 1.0, 1 / 1.15, turning=False))
    for batch, predicted in batches(lab, episodes, lab.space):
        sums.update(predicted, batch)
        for name, values in frame_values.items():
            for value, fits in values.items():
                positions = torch.zeros(batch.windows.shape, dtype=torch.bool)
                for s in range(batch.num_windows):
                    for w, pair in enumerate(batch.window_pairs(s)):
                        positions[s, w] = here(pair, name, fits)
                rows = positions.any(1)
                masked = replace(
                    batch,
                    windows=batch.windows[rows],
                    chunks=batch.chunks[rows],
                    chunk_mask=(batch.chunk_mask & positions[..., None])[rows],
                )
                slow[name, value].update(masked, predicted[rows])
    found = sums.summary(sums.compute(), ["direction"])["by_label"]
    assert found["direction"].keys() == {"left"}  # of the episodes
    assert found["near"].keys() == frame_values["near"].keys()
    for name, value in slow:
        assert_close(found[name][value], slow[name, value].group("all"))
    assert found["direction_by_frame"]["unknown"]["denominators"]["episodes"] == 1  # the third has no such label
    assert sum(found["near"][value]["denominators"]["entries"] for value in found["near"]) == int(
        sums.compute()[:, sums.columns["entries"]].sum()
    )


def test_rmse_is_not_the_root_of_the_loss(lab):
    episodes = lab.make_episodes(4)
    sums = lab.make_sums(episodes)
    for batch, _ in batches(lab, episodes, lab.space):
        sums.update(batch.chunks + torch.tensor([0.2, -0.2]), batch)
    summary = sums.summary(sums.compute())
    scale = [1.15 / 2, 1.15]  # m/s per normalised unit
    assert summary["loss"] == pytest.approx(0.02, rel=1e-4)
    assert summary["rmse"] == pytest.approx(0.2 * math.sqrt((scale[0] ** 2 + scale[1] ** 2) / 2), rel=1e-4)


def test_tables_of_ranks_add_up(lab):
    """Two processes with different batches, synchronised, have the table of one that saw all."""
    episodes = lab.make_episodes(6)
    whole, ranks = lab.make_sums(episodes), [lab.make_sums(episodes) for _ in range(2)]
    for i, (batch, predicted) in enumerate(batches(lab, episodes, lab.space)):
        whole.update(predicted, batch)
        ranks[i % 2].update(predicted, batch)
    for sums in ranks:
        sums.dist_sync_fn = lambda table, group: [rank.table.clone() for rank in ranks]
        sums._update_count = 1
        sums.distributed_available_fn = lambda: True
    tables = [sums.compute() for sums in ranks]
    assert np.array_equal(tables[0], tables[1])
    np.testing.assert_allclose(tables[0], whole.compute(), rtol=1e-5)
    assert whole.summary(whole.compute())["denominators"] == ranks[0].summary(tables[0])["denominators"]


def test_loss_by_episode_is_what_the_loss_is_made_of(lab):
    episodes = lab.make_episodes(5)
    sums = lab.make_sums(episodes, DELTA)
    expected, counts = np.zeros(5), np.zeros(5)
    for batch, predicted in batches(lab, episodes, lab.space):
        sums.update(predicted, batch)
        for s in range(batch.num_windows):
            row = [e.id for e in episodes].index(batch.window_pairs(s)[0].episode)
            mask = batch.chunk_mask[s]
            expected[row] += float(huber(predicted[s][mask], batch.chunks[s][mask], DELTA).sum())
            counts[row] += 2 * int(mask.sum())
    losses, entries = sums.loss_by_episode(sums.compute())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(entries, counts)


def test_nothing_to_divide_by_is_none(lab):
    """No sideways command, no whole chunk, no window at all: none of them is a zero, or an error."""
    still = ActionSpace(components=("linear_x",), low=(0.0,), high=(1.15,))
    episodes = [lab.make_episode("short", 3)]
    sums = EpisodeSums(episodes, still, lab.chunk, 1.0)
    empty = sums.summary(sums.table.double().numpy())
    assert empty["loss"] is None
    assert empty["rmse"] is None
    assert empty["denominators"] == dict.fromkeys(
        ("episodes", "windows", "entries", "lateral_entries", "whole_chunks"), 0
    )
    for batch, predicted in batches(lab, episodes, still, components=still.components):
        sums.update(predicted, batch)
    summary = sums.summary(sums.compute())
    assert summary["loss"] > 0
    assert summary["sign_accuracy"] is None
    assert summary["displacement_error"] is None
    assert summary["by_horizon"][-1]["loss"] is None


def test_labels_worth_a_table(lab):
    def labelled(**labels):
        return lab.make_episode(str(len(labels)), labels=labels)

    episodes = [
        labelled(direction=side, session=f"2025120{i}", constant="x", many=str(i))
        for i, side in enumerate(["left", "right"] * 5)
    ]
    assert label_names(episodes) == ["direction"]
    partly = [*episodes[:4], labelled(), labelled(boxes="1box")]
    assert label_names(partly) == ["direction", "many"]
