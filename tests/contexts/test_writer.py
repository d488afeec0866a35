"""What a store takes, what it refuses, and that a second run adds only what is missing."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.contexts import writer as module
from mobile_vla.contexts.manifest import StoreInfo, TapSpec, name_folders
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.parts import find_parts
from mobile_vla.contexts.reader import open_store
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core import durable
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, feed, make, plan, row_of, sums, vector_of

ONE = {"context": TapSpec(shape=(6,))}
PLAIN = StoreInfo()


def rows(ids):
    return [Row(id=id, progress=0.0) for id in ids]


def test_order_and_size_of_what_comes_mean_nothing(tmp_path, folder):
    ids = plan()
    with StoreWriter(tmp_path / "b", ids, TAPS, INFO, shard_rows=16, part_bytes=1) as writer:
        feed(writer, ids[::-1], batch=1)
    complete(tmp_path / "b")
    with StoreWriter(tmp_path / "c", ids, TAPS, INFO, shard_rows=16) as writer:
        feed(writer, ids[40:] + ids[:60], batch=33)
    complete(tmp_path / "c")
    assert sums(tmp_path / "b") == sums(tmp_path / "c") == sums(folder)


def test_a_second_run_adds_what_is_missing(tmp_path, folder):
    ids = plan()
    with StoreWriter(tmp_path / "b", ids, TAPS, INFO, shard_rows=16) as writer:
        assert writer.missing() == ids
        feed(writer, ids[5:40])
        assert writer.missing() == ids[:5] + ids[40:]
    with StoreWriter(tmp_path / "b", ids, TAPS, INFO, shard_rows=16, rank=2) as writer:
        assert writer.missing() == ids[:5] + ids[40:]
        feed(writer, ids)
    assert complete(tmp_path / "b").complete
    assert sums(tmp_path / "b") == sums(folder)
    with StoreWriter(tmp_path / "b", ids, TAPS, INFO, shard_rows=16) as writer:
        assert writer.missing() == []
        feed(writer, ids)
    complete(tmp_path / "b")
    assert sums(tmp_path / "b") == sums(folder)


def test_of_rows_that_come_twice_the_first_counts(tmp_path):
    ids = plan(1, 4)
    first, second = np.zeros((8, 6), np.float32), np.ones((8, 6), np.float32)
    for rank, values in ((1, second), (0, first)):  # arrival does not matter between ranks
        with StoreWriter(tmp_path, ids, ONE, PLAIN, rank=rank) as writer:
            writer._to_come = set(ids)  # both began before either had written
            writer.add(rows(ids), {"context": values})
            writer.add(rows(ids), {"context": values + 5})
    complete(tmp_path)
    assert (open_store(tmp_path).vectors()[:] == 0).all()
    assert open_store(tmp_path).manifest.rows == 8


def test_arrays_may_be_used_again(tmp_path):
    ids, buffer = plan(2, 4), np.empty((4, 6), np.float32)
    with StoreWriter(tmp_path, ids, ONE, PLAIN) as writer:
        for start in range(0, 16, 4):
            buffer[:] = start
            writer.add(rows(ids[start : start + 4]), {"context": buffer})
            buffer[:] = -1
    complete(tmp_path)
    assert open_store(tmp_path).vectors()[:].mean(1).tolist() == [0] * 4 + [4] * 4 + [8] * 4 + [12] * 4


@pytest.mark.parametrize(
    ("ids", "change", "message"),
    [
        (plan()[:99], {}, r"other rows are planned \(there 100, now 99\)"),
        (plan()[::-1], {}, r"other rows are planned"),
        (plan(), {"taps": ONE}, r'taps.half.dtype is "float16" there and not set now'),
        (
            plan(),
            {"info": replace(INFO, fingerprints={"checkpoint": "x"})},
            r'checkpoint is "c0ffee" there and "x" now',
        ),
        (
            plan(),
            {"info": replace(INFO, configuration={"model": {"name": "tiny", "lora": 4}, "taps": ["context"]})},
            r"holds another store: configuration.model.lora is null there and 4 now; choose another folder",
        ),
    ],
)
def test_another_store_is_left_alone(folder, ids, change, message):
    before = sums(folder)
    with pytest.raises(UserError, match=message):
        StoreWriter(folder, ids, **{"taps": TAPS, "info": INFO, **change})
    assert sums(folder) == before


def test_where_a_run_lies_and_how_its_shards_are_cut_is_no_other_store(folder):
    moved = replace(INFO, run={"folder": "elsewhere"})
    assert StoreWriter(folder, plan(), TAPS, moved, shard_rows=5).missing() == []


def test_shards_without_a_manifest_are_left_alone(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine").write_text("mine")
    with pytest.raises(UserError, match=r"holds shards without manifest.json"):
        StoreWriter(tmp_path, plan(), TAPS, INFO)
    assert sums(tmp_path).keys() == {"shards/mine"}


def test_other_files_in_the_folder_stay(tmp_path, folder):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "probe.json").write_text("{}")
    make(tmp_path / "b", shard_rows=16)
    assert sums(tmp_path / "b") == {**sums(folder), "probe.json": sums(tmp_path / "b")["probe.json"]}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_context_that_is_not_finite_is_named(tmp_path, value, dtype):
    ids, values = plan(2, 4), np.zeros((8, 6), np.float32)
    taps = {"context": TapSpec(shape=(6,), dtype=dtype)}
    writer = StoreWriter(tmp_path, ids, taps, PLAIN)
    writer.add(rows(ids[:8]), {"context": values})
    values[2, [1, 4]] = value
    writer.add(rows(ids[8:]), {"context": values})
    message = (
        r"tap 'context', episode 'day/001', frame 1, instruction '왼쪽으로', own: 2 of 6 values are NaN or infinite"
    )
    with pytest.raises(UserError, match=message):
        writer.close()
    with pytest.raises(UserError, match=message):
        writer.add(rows(ids[8:]), {"context": np.zeros((8, 6), np.float32)})
    assert StoreWriter(tmp_path, ids, taps, PLAIN).missing() == ids[8:], "what was good before it stays"


def test_a_value_beyond_the_stored_form_is_told_as_that(tmp_path):
    taps = {"context": TapSpec(shape=(6,), dtype="float16")}
    writer = StoreWriter(tmp_path, plan(1, 1), taps, PLAIN)
    writer.add(rows(plan(1, 1)), {"context": np.full((2, 6), 7e4, np.float32)})
    with pytest.raises(UserError, match=r"the largest value, 7e\+04, does not fit in float16; store bfloat16"):
        writer.close()


def test_a_broken_head_is_told(tmp_path):
    with StoreWriter(tmp_path, plan(), TAPS, INFO) as writer:
        row = replace(row_of(plan()[0]), predicted=np.full((3, 2), np.nan, np.float32))
        values = {tap: vector_of(row.id, tap, spec)[None] for tap, spec in TAPS.items()}
        with pytest.raises(UserError, match=r"frame 0, .*: the predicted chunk holds NaN"):
            writer.add([row], values)


def test_what_does_not_belong_is_our_own_mistake(tmp_path):
    ids, good = plan(1, 1), np.zeros((2, 6), np.float32)
    with StoreWriter(tmp_path, ids, ONE, PLAIN) as writer:
        for given, values, message in [
            (ids, {"context": np.zeros((2, 7), np.float32)}, r"\(2, 6\) expected, got \(2, 7\)"),
            (ids[:1], {"context": good}, r"\(1, 6\) expected, got \(2, 6\)"),
            (ids, {"contexts": good}, r"\['context'\] expected, got \['contexts'\]"),
            ([RowId("z", 0, ""), ids[0]], {"context": good}, r"episode 'z', frame 0, .* is not planned"),
        ]:
            with pytest.raises(ValueError, match=message) as caught:
                writer.add(rows(given), values)
            assert not isinstance(caught.value, UserError)
        with pytest.raises(ValueError, match=r"action of shape \(None, 0\) expected, got \(3, 2\)"):
            writer.add([Row(id=ids[0], progress=0, action=np.zeros((3, 2), np.float32))], {"context": good[:1]})
        assert writer.missing() == ids, "a refused row is still to come"


def test_a_thread_that_fails_is_heard_at_the_next_row(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_part", fail)
    ids = plan(40, 1)
    writer = StoreWriter(tmp_path, ids, ONE, PLAIN, part_bytes=1)

    def go_on():
        for id in ids:
            writer.add(rows([id]), {"context": np.zeros((1, 6), np.float32)})
            time.sleep(0.005)

    with pytest.raises(UserError, match=r"contexts cannot be written: No space left on device; what was stored"):
        go_on()
    assert len(writer.missing()) > 10, "it went on as if nothing had happened"


@pytest.mark.parametrize("number", [1, 12])
def test_nobody_waits_for_a_thread_that_has_failed(tmp_path, monkeypatch, number):
    """Whether it fails at the last flush or while rows queue up."""

    def fail(*_):
        time.sleep(0.1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_part", fail)
    ids, heard = plan(12, 1, ["own"]), []

    def work():
        try:
            with StoreWriter(tmp_path, ids, ONE, PLAIN, part_bytes=1 if number > 1 else 1000) as writer:
                for id in ids[:number]:
                    writer.add(rows([id]), {"context": np.zeros((1, 6), np.float32)})
        except UserError as error:
            heard.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "No space left on device" in heard[0]


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    room = tmp_path / "parts" / "0"
    left = durable._beside(room / "000000")
    left.mkdir(parents=True)
    (left / "context.npy").write_text("half")
    with StoreWriter(tmp_path, plan(), TAPS, INFO) as writer:
        feed(writer, plan())
    assert sorted(path.name for path in room.iterdir()) == [".lock", "000000"]


def test_an_error_in_the_work_is_not_covered_and_costs_no_row(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    def work(ids):
        with StoreWriter(tmp_path, plan(), TAPS, INFO) as writer:
            feed(writer, ids)
            raise KeyError("the work")

    with pytest.raises(KeyError, match="the work"):
        work(plan()[:30])
    monkeypatch.setattr(module, "write_part", fail)
    with pytest.raises(KeyError, match="the work"):
        work(plan()[30:60])
    assert len(open_store(tmp_path, partial=True)) == 30


def test_rows_do_not_wait_long_for_others(tmp_path):
    with StoreWriter(tmp_path, plan(), TAPS, INFO, part_s=0.05) as writer:
        feed(writer, plan()[:3])
        deadline = time.monotonic() + 5
        while not find_parts(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(open_store(tmp_path, partial=True)) == 3


def test_rows_do_not_wait_long_when_they_come_all_the_time_either(tmp_path, monkeypatch):
    numbers = []

    def slowly(path, rows, values, taps):
        numbers.append(len(rows))
        time.sleep(0.02)

    monkeypatch.setattr(module, "write_part", slowly)
    with StoreWriter(tmp_path, plan(), TAPS, INFO, part_s=0) as writer:
        feed(writer, plan()[:10], batch=1)
    assert numbers == [1] * 10


def test_labels_that_are_not_of_one_kind_become_text(tmp_path):
    ids = plan(2, 2, ["own"])
    for rank, some in enumerate((["left", 3], [2.5, None])):
        with StoreWriter(tmp_path, ids, ONE, PLAIN, rank=rank) as writer:
            pairs = zip(ids[2 * rank :], some, strict=False)
            labelled = [Row(id=id, progress=0, labels={"x": value, "y": float("nan")}) for id, value in pairs]
            writer.add(labelled, {"context": np.zeros((2, 6), np.float32)})
    complete(tmp_path)
    store = open_store(tmp_path)
    assert store.column("label.x").tolist() == ["left", "3", "2.5", None]
    assert store.labels == ["x"]


def test_folders_of_taps_are_plain_and_different():
    taps = ["a.b/c", "a.b:c", "A.B-c", "../up", "", "한국", "x" * 300]
    names = name_folders(taps)
    assert len({name.lower() for name in names.values()}) == len(taps)
    assert names["../up"] == "up"
    assert names["한국"] == "한국"
    assert names == name_folders(taps[::-1])
    assert all(name and "/" not in name and len(name) < 100 for name in names.values())
