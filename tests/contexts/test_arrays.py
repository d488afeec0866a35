"""Arrays out of a store and into one: aligned, equal after a round trip, and refused by name where they are wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_vla.contexts.exporting import ExportConfig, choose_rows, export_arrays
from mobile_vla.contexts.importing import open_arrays, write_store
from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.rows import RowId
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, make, plan, row_of, sums, vector_of


def export(store: Store, out: Path, tap: str = "context", variant: str | None = None) -> dict[str, Any]:
    out.mkdir()
    export_arrays(store, choose_rows(store, ExportConfig(tap=tap, variant=variant)), tap, out)
    return json.loads((out / "context_metadata.json").read_text())


def bring_in(folder: Path, out: Path) -> Store:
    write_store(open_arrays(folder), out)
    return open_store(out, verify=True)


def old_dump(folder: Path, change: Callable[[list[dict]], object] = lambda annotations: None) -> np.ndarray:
    """Arrays as the lab's older scripts wrote them: no instruction, no variant, in no order."""
    vectors = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    annotations = [
        {
            "vector_idx": (5 * i) % 12,
            "episode": f"e{(5 * i) % 12 // 4}",
            "task_type": "1box",
            "difficulty": "unknown",
            "frame_idx": (5 * i) % 4,
            "progress": (5 * i) % 4 / 3,
        }
        for i in range(12)
    ]
    change(annotations)
    folder.mkdir(exist_ok=True)
    np.save(folder / "context_vectors.npy", vectors)
    (folder / "context_metadata.json").write_text(json.dumps({"metadata": {"by": "lab"}, "annotations": annotations}))
    return vectors


def test_rows_and_annotations_are_aligned(store, tmp_path):
    content = export(store, tmp_path / "out", variant="own")
    ids = [id for id in plan() if id.variant == "own"]
    vectors = np.load(tmp_path / "out" / "context_vectors.npy")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.stack([vector_of(id, "context", TAPS["context"]) for id in ids]))
    assert content["schema"] == 1
    assert (content["metadata"]["tap"], content["metadata"]["fingerprints"]) == ("context", {"checkpoint": "c0ffee"})
    for index, (id, annotation) in enumerate(zip(ids, content["annotations"], strict=True)):
        row = row_of(id)
        said = [annotation[name] for name in ("vector_idx", "episode", "frame_idx", "instruction", "variant")]
        assert said == [index, *id]
        assert (annotation["progress"], annotation["direction"]) == (row.progress, row.labels["direction"])
        assert annotation["task_type"] == ("box" if id.episode == "day/003" else "unknown")
        assert annotation["difficulty"] == "unknown"
        assert np.array_equal(np.array(annotation["predicted"], np.float32), row.predicted)
        assert ("action" in annotation) == (row.action is not None)
        if row.action is not None:
            hidden = np.where(row.action_mask[:, None], row.action, np.nan)
            assert np.array_equal(np.array(annotation["action"], np.float32), hidden, equal_nan=True)


@pytest.mark.parametrize("variant", [None, "swap"])
def test_out_in_and_out_again_is_equal(store, tmp_path, variant):
    export(store, tmp_path / "first", variant=variant)
    export(bring_in(tmp_path / "first", tmp_path / "store"), tmp_path / "second")
    assert sums(tmp_path / "first") == sums(tmp_path / "second")


def test_an_imported_store_is_the_one_it_came_from(store, tmp_path):
    export(store, tmp_path / "first")
    found = bring_in(tmp_path / "first", tmp_path / "store")
    assert repr(found.rows.to_pylist()) == repr(store.rows.to_pylist()), "NaN included"
    assert found.rows.column_names == store.rows.column_names
    assert np.array_equal(found.vectors()[:], store.vectors()[:])
    assert found.manifest.info.components == INFO.components


@pytest.mark.parametrize("tap", ["half", "bf"])
def test_other_taps_leave_as_float32(tmp_path, tap):
    taps = {"half": TAPS["half"], "bf": TapSpec(shape=(4,), dtype="bfloat16")}
    make(tmp_path / "store", taps=taps)
    export(open_store(tmp_path / "store"), tmp_path / "out", tap)
    vectors = np.load(tmp_path / "out" / "context_vectors.npy")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.stack([vector_of(id, tap, taps[tap]) for id in plan()]))


def test_a_label_called_like_a_key_keeps_its_name(tmp_path):
    id = RowId("e", 0, "go")
    row = replace(row_of(RowId("e/000", 0, "go")), id=id, labels={"progress": "slow", "variant": 2.0, "side": [1.0]})
    with StoreWriter(tmp_path / "store", [id], {"context": TAPS["context"]}, INFO) as writer:
        writer.add([row], {"context": np.zeros((1, 6), np.float32)})
    complete(tmp_path / "store")
    (annotation,) = export(open_store(tmp_path / "store"), tmp_path / "out")["annotations"]
    assert (annotation["progress"], annotation["label.progress"], annotation["variant"]) == (0, "slow", "own")
    found = bring_in(tmp_path / "out", tmp_path / "again")
    assert found.labels == ["progress", "side", "variant"]
    assert found.column("label.variant").tolist() == [2.0]


def test_what_cannot_leave_is_told(store):
    with pytest.raises(UserError, match=r"\(2, 3\) a row, but .* holds one vector a row; taps that do: context, half"):
        choose_rows(store, ExportConfig(tap="text_model.layers/3"))
    with pytest.raises(UserError, match=r"variant='owm': no such rows; there are own, swap"):
        choose_rows(store, ExportConfig(variant="owm"))


def test_an_old_dump_becomes_a_store(tmp_path):
    def richer(annotations):
        annotations[0]["distance"] = 3
        annotations[1] |= {"notes": {"who": "me"}, "episode": 7, "action": [0.5, -1.0]}
        annotations[2]["action"] = [[1, 2], [3, 4], [None, None]]

    vectors = old_dump(tmp_path / "dump", richer)
    store = bring_in(tmp_path / "dump", tmp_path / "store")
    assert np.array_equal(store.vectors()[:], vectors)
    assert store.column("frame").tolist() == [0, 1, 2, 3] * 3
    assert store.column("episode").tolist() == ["e0"] * 4 + ["e1", "7", "e1", "e1"] + ["e2"] * 4
    assert set(store.column("instruction")) == {""}
    assert len(store.select(variant="own")) == 12
    assert store.labels == ["distance", "notes", "task_type"], "what is unknown everywhere is no label"
    assert store.column("label.notes")[5] == '{"who": "me"}'
    known = np.flatnonzero(store.column("action_mask").any(1))
    assert known.tolist() == [5, 10]
    assert store.column("action_mask")[known].tolist() == [[True, False, False], [True, True, False]]
    expected = np.array([[0.5, -1], [1, 2], [3, 4]])
    assert np.array_equal(store.column("action")[store.column("action_mask")], expected)
    assert store.manifest.info.run == {"imported": {"by": "lab"}}


@pytest.mark.parametrize(("dtype", "stored"), [(">f4", "float32"), ("<f8", "float32"), ("<f2", "float16")])
def test_floats_of_any_form_are_taken(tmp_path, dtype, stored):
    vectors = np.asfortranarray(old_dump(tmp_path / "dump").astype(dtype))
    np.save(tmp_path / "dump" / "context_vectors.npy", vectors)
    store = bring_in(tmp_path / "dump", tmp_path / "store")
    assert store.taps["context"].dtype == stored
    assert np.array_equal(store.vectors()[:], vectors.astype(stored))


def rename(old, new):
    def change(annotations):
        annotations[3][new] = annotations[3].pop(old)

    return change


def put(place, **values):
    return lambda annotations: annotations[place].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(), r"misaligned: 12 vectors in context_vectors.npy, 11 annotations in context_metadata.json"),
        (put(2, vector_idx=5), r"annotation 2 \(episode 'e2', frame 2.*\): vector_idx 5 has an annotation already"),
        (put(2, vector_idx=12), r"annotation 2: vector_idx: expected a whole number from 0 to 11, got 12"),
        (put(2, vector_idx=True), r"vector_idx: expected a whole number from 0 to 11, got True"),
        (put(4, episode="e0", frame_idx=0), r"annotation 4: episode 'e0', frame 0, .* is vector 0 already, and again"),
        (rename("frame_idx", "frame"), r"annotation 3: no 'frame_idx': did you mean 'frame'\?"),
        (rename("vector_idx", "idx"), r"annotation 3: no 'vector_idx'.*\(there are episode, task_type"),
        (put(1, frame_idx=0.5), r"annotation 1: frame_idx: expected a whole number from 0 on, got 0.5"),
        (put(1, progress=25), r"annotation 1: progress: expected a number from 0 to 1, got 25"),
        (put(1, progress=float("nan")), r"annotation 1: progress: expected a number from 0 to 1, got None"),
        (put(1, progress=float("inf")), r"not json that can be read \(it holds Infinity\)"),
        (put(1, instruction=["go"]), r"annotation 1: instruction: expected text, got \['go'\]"),
        (put(1, episode=None), r"annotation 1: expected an episode and a frame_idx, got None"),
        (put(1, action=[[1, 2], [3]]), r"annotation 1: action: expected a chunk as nested lists"),
        (put(1, action=[[1, None]]), r"annotation 1: action: expected finite velocities"),
        (put(1, action="stop"), r"annotation 1: action: expected a chunk"),
        (put(1, action=[[1, 1e300]]), r"annotation 1: action: expected finite velocities"),
        (put(1, predicted=[[None, None]]), r"annotation 1: predicted: every step of a predicted chunk is known"),
        (
            lambda a: (put(0, predicted=[[1, 2]])(a), put(1, action=[[1, 2], [3, 4]])(a)),
            r"vector_idx 0 \(episode 'e0', .*\): predicted: expected 2 steps x 2 components as elsewhere, got 1 x 2",
        ),
        (
            lambda a: (put(0, action=[[1, 2]])(a), put(1, action=[[1, 2, 3]])(a)),
            r"vector_idx 5 .* action: expected 1 steps x 2 components as elsewhere, got 1 x 3",
        ),
        (lambda a: a.__setitem__(6, "row"), r"annotation 6: expected values by name, got str"),
    ],
)
def test_wrong_annotations_are_refused_by_name(tmp_path, change, message):
    old_dump(tmp_path / "dump", change)
    with pytest.raises(UserError, match=message) as caught:
        open_arrays(tmp_path / "dump")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((12, 2, 5), np.float32), r"expected \(N, D\), one vector a row, got \(12, 2, 5\)"),
        (np.zeros((0, 5), np.float32), r"expected \(N, D\), one vector a row, got \(0, 5\)"),
        (np.zeros((12, 5), np.int64), r"expected floats, got int64"),
        (np.full((12, 5), None), r"not an array of numbers that can be read"),
        (np.full((12, 5), 1e39), r"12 of 12 vectors hold NaN or infinity \(first: vector_idx 0"),
        (
            np.where(np.arange(60).reshape(12, 5) == 37, np.nan, 1.0),
            r"1 of 12 .* \(first: vector_idx 7, episode 'e1'",
        ),
    ],
)
def test_wrong_vectors_are_refused_by_name(tmp_path, vectors, message):
    old_dump(tmp_path / "dump")
    np.save(tmp_path / "dump" / "context_vectors.npy", vectors)
    with pytest.raises(UserError, match=message):
        open_arrays(tmp_path / "dump")


def test_vectors_cut_short_are_refused(tmp_path):
    old_dump(tmp_path / "dump")
    file = tmp_path / "dump" / "context_vectors.npy"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"not an array of numbers that can be read"):
        open_arrays(tmp_path / "dump")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"not json that can be read"),
        ("[]", r"expected a list 'annotations', found list"),
        ('{"annotation": []}', r"found \['annotation'\]: did you mean 'annotation'\?"),
        ('{"schema": 9, "annotations": []}', r"schema 9 is not known, expected 1, or none in older files"),
        ('{"metadata": 3, "annotations": []}', r"'metadata': expected values by name, got int"),
    ],
)
def test_other_json_is_refused(tmp_path, content, message):
    old_dump(tmp_path / "dump")
    (tmp_path / "dump" / "context_metadata.json").write_text(content)
    with pytest.raises(UserError, match=message):
        open_arrays(tmp_path / "dump")


def test_a_folder_without_arrays_is_told(tmp_path):
    (tmp_path / "vectors.npy").write_text("")
    with pytest.raises(UserError, match=r"expected a folder with context_vectors.npy and .*, found \['vectors.npy'\]"):
        open_arrays(tmp_path)
    with pytest.raises(UserError, match=r"found no such folder"):
        open_arrays(tmp_path / "nowhere")
