"""What comes out of a store is what went in, row by row, however it is asked for."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import mobile_vla.contexts
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.parts import find_parts
from mobile_vla.contexts.reader import open_store
from mobile_vla.contexts.rows import list_ids
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, feed, make, plan, row_of, vector_of

WITHOUT_TORCH = """
import sys
import mobile_vla.contexts
store = mobile_vla.contexts.open(sys.argv[1], verify=True)
store.column("action"), store.vectors("context")[:], store.select(part="test")
heavy = {"torch", "lightning", "transformers", "hydra", "mobile_vla.core.locking"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_store_is_read_without_torch_or_what_only_unix_has(folder):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tap", TAPS)
def test_vectors_are_those_of_their_rows(store, tap):
    expected = np.stack([vector_of(id, tap, TAPS[tap]) for id in plan()])
    vectors = store.vectors(tap)
    assert (vectors.shape, vectors.ndim, len(vectors)) == (expected.shape, expected.ndim, 100)
    assert vectors.dtype == vectors[:].dtype == (np.float16 if tap == "half" else np.float32)
    rng = np.random.default_rng(1)
    chosen = [3, -1, np.int64(20), slice(None), slice(70, 5, -3), slice(5, 5), [], [99, 0, 0, -100]]
    for rows in [*chosen, rng.random(100) < 0.3, rng.integers(0, 100, 40)]:
        rows = np.array(rows, int) if isinstance(rows, list) else rows
        assert np.array_equal(vectors[rows], expected[rows])
    assert np.array_equal(np.asarray(vectors), expected)
    for wrong in (100, [0, 100], -101):
        with pytest.raises(IndexError):
            vectors[wrong]
    with pytest.raises(IndexError, match="one index, got 2"):
        vectors[3, 0]


def test_what_scikit_learn_takes_is_aligned_with_the_rows(store):
    table = store.rows.to_pydict()
    assert np.array_equal(store["context"], np.stack([vector_of(id, "context", TAPS["context"]) for id in plan()]))
    assert store.episodes.tolist() == table["episode"]
    name = "direction"
    assert store.label(name).tolist() == table[f"label.{name}"]
    with pytest.raises(UserError, match=f"no label 'colour'; there are .*{name}"):
        store.label("colour")


def test_blocks_go_through_all_rows_once(store, monkeypatch):
    monkeypatch.setattr("mobile_vla.contexts.npy.BLOCK_BYTES", 9 * 24)
    blocks = list(store.vectors().blocks())
    assert [len(block) for _, block in blocks] == [9] * 11 + [1]
    assert np.array_equal(np.concatenate([block for _, block in blocks]), store.vectors()[:])
    assert all(np.array_equal(store.vectors()[where], block) for where, block in blocks)


def test_every_column_is_what_the_row_was(store):
    rows = [row_of(id) for id in plan()]
    assert list_ids(store.rows) == plan()
    assert store.column("progress").tolist() == [row.progress for row in rows]
    assert store.column("part").tolist() == [row.part for row in rows]
    assert store.column("frame").dtype == np.int64
    assert store.column("shown_episode").tolist() == [row.shown[0] if row.shown else None for row in rows]
    assert store.labels == ["boxes", "direction", "distance_m", "task_type"]
    assert store.column("label.direction").tolist() == [row.labels["direction"] for row in rows]
    distances = np.array([row.labels["distance_m"] for row in rows], float)  # None is NaN
    assert np.array_equal(store.column("label.distance_m"), distances, equal_nan=True)
    actions, masks = store.column("action"), store.column("action_mask")
    assert actions.shape == (100, 3, 2)
    assert 0 < masks.sum() < masks.size
    for row, action, mask, predicted in zip(rows, actions, masks, store.column("predicted"), strict=True):
        known = row.action_mask if row.action is not None else np.zeros(3, bool)
        assert np.array_equal(mask, known)
        assert np.isnan(action[~known]).all()
        if row.action is not None:
            assert np.array_equal(action[known], row.action[known])
        unknown = np.full((3, 2), np.nan)
        expected = unknown if row.predicted is None else row.predicted
        assert np.array_equal(predicted, expected, equal_nan=True)


def test_rows_are_chosen_by_what_they_are(store):
    def chosen(**wanted):
        return [plan()[i] for i in store.select(**wanted)]

    assert chosen() == [id for id in plan() if id.variant == "own"]
    assert chosen(variant=None) == plan()
    assert chosen(variant="swap", part="test") == [id for id in plan()[50:] if id.variant == "swap"]
    left = [id for id in plan() if id.variant == "own" and int(id.episode[-3:]) % 2 and id.frame == 2]
    assert chosen(labels={"direction": "left", "distance_m": 2.0}) == left
    assert chosen(labels={"task_type": "box"}, variant=None) == [id for id in plan() if id.episode == "day/003"]
    with pytest.raises(UserError, match=r"no column 'label.side'; there are episode, .*label.direction"):
        store.select(labels={"side": "left"})
    with pytest.raises(UserError, match=r"no tap 'image'; there are context, half, text_model"):
        store.vectors("image")


def test_the_manifest_is_plain_json(folder):
    content = json.loads((folder / "manifest.json").read_text())
    assert (content["schema"], content["complete"], content["rows"], content["episodes"]) == (1, True, 100, 10)
    assert content["taps"]["text_model.layers/3"] == {
        "shape": [2, 3], "dtype": "bfloat16", "folder": "text_model.layers-3"
    }  # fmt: skip
    assert content["configuration"] == {"model": {"name": "tiny", "lora": None}, "taps": ["context"]}
    assert content["fingerprints"] == {"checkpoint": "c0ffee"}
    assert content["run"] == {"folder": "runs/train/a"}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {"manifest.json", *content["checksums"]}


def test_a_shard_is_an_array_that_numpy_maps(folder):
    shard = np.load(folder / "shards/context/00001.npy", mmap_mode="r")
    assert np.array_equal(shard, np.stack([vector_of(id, "context", TAPS["context"]) for id in plan()[16:32]]))


def test_damage_is_named(folder):
    file = folder / "shards/context/00002.npy"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    store = open_store(folder)
    with pytest.raises(UserError, match=r"damaged or missing: shards/context/00002.npy; restore"):
        store.verify()
    with pytest.raises(UserError, match=r"damaged or missing: shards/context/00002.npy"):
        open_store(folder, verify=True)
    os.truncate(file, 150)
    with pytest.raises(UserError, match=r"damaged or missing: shards/context/00002.npy"):
        open_store(folder)
    file.unlink()
    (folder / "rows.parquet").unlink()
    with pytest.raises(UserError, match=r"damaged or missing: rows.parquet, shards/context/00002.npy"):
        open_store(folder)


def test_an_incomplete_store_says_so_and_gives_what_is_there(tmp_path):
    with StoreWriter(tmp_path, plan(), TAPS, INFO) as writer:
        feed(writer, plan()[60:20:-1])
    with pytest.raises(UserError, match=r"not complete: 40 of 100 planned rows are there; .* partial=True"):
        mobile_vla.contexts.open(tmp_path)
    store = open_store(tmp_path, partial=True)
    assert (store.complete, len(store)) == (False, 40)
    assert list_ids(store.rows) == plan()[21:61]
    for tap, spec in TAPS.items():
        assert np.array_equal(store.vectors(tap)[:], np.stack([vector_of(id, tap, spec) for id in plan()[21:61]]))
    with pytest.raises(UserError, match=r"60 of 100 planned rows are missing \(first: episode 'day/000', frame 0"):
        complete(tmp_path)
    assert not (tmp_path / "shards").exists()


def test_an_empty_beginning_opens_too(tmp_path):
    StoreWriter(tmp_path, plan(), TAPS, INFO).close()
    store = open_store(tmp_path, partial=True)
    assert (len(store), store.vectors()[:].shape, len(store.column("episode"))) == (0, (0, 6), 0)


def test_a_damaged_part_is_named_with_what_to_do(tmp_path):
    with StoreWriter(tmp_path, plan(), TAPS, INFO) as writer:
        feed(writer, plan())
    (part,) = find_parts(tmp_path)
    os.truncate(part / "half.npy", 300)
    with pytest.raises(UserError, match=r"parts/0/000000: damaged .*delete that folder and run the same command again"):
        complete(tmp_path)


def test_what_is_no_store_is_told(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder; expected the folder of a store"):
        open_store(tmp_path / "nowhere")
    make(tmp_path / "run" / "contexts")
    with pytest.raises(UserError, match=r"run: no manifest.json there; did you mean .*run/contexts\?"):
        open_store(tmp_path / "run")
    file = tmp_path / "run" / "contexts" / "manifest.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(UserError, match=r"schema 99 is not known, expected 1; it was written by version 0"):
        open_store(tmp_path / "run" / "contexts")
    file.write_text("{")
    with pytest.raises(UserError, match=r"not the manifest of a store"):
        open_store(tmp_path / "run" / "contexts")
