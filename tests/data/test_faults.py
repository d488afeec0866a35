"""The table of files that a run leaves out: what was written comes back, each file once, and never half a table."""

import json
import os

import pytest

import mobile_vla
from mobile_vla.core.errors import UserError
from mobile_vla.data.faults import append_faults, load_faults, refuse_too_many, save_faults
from mobile_vla.sources.schema import Fault

FAULTS = [Fault("/data/상자.h5", "is empty (0 bytes)"), Fault("/data/b.h5", "6 frames but 5 actions")]


def test_the_table_is_what_other_programs_read(tmp_path):
    save_faults(FAULTS, tmp_path / "faults.json")
    stored = json.loads((tmp_path / "faults.json").read_text(encoding="utf-8"))
    assert (stored["schema"], stored["version"]) == (1, mobile_vla.__version__)
    assert stored["faults"][0] == {"file": "/data/상자.h5", "reason": "is empty (0 bytes)", "found": "before training"}
    assert "상자" in (tmp_path / "faults.json").read_text(encoding="utf-8")  # for people, too


def test_later_ones_are_appended_once_and_the_first_reason_stays(tmp_path):
    file = tmp_path / "faults.json"
    save_faults(FAULTS[:1], file)
    later = [Fault("/data/상자.h5", "something else"), Fault("/data/c.h5", "gone"), Fault("/data/c.h5", "gone again")]
    returned = append_faults(later, file, "epoch 3, step 120")
    assert returned == load_faults(file)
    assert [(f.file, f.reason, f.found) for f in returned] == [
        ("/data/상자.h5", "is empty (0 bytes)", "before training"),
        ("/data/c.h5", "gone", "epoch 3, step 120"),
    ]


def test_appending_begins_a_table_where_there_is_none(tmp_path):
    append_faults(FAULTS, tmp_path / "faults.json", "epoch 1, step 2")
    assert [fault.found for fault in load_faults(tmp_path / "faults.json")] == ["epoch 1, step 2"] * 2


def test_a_writer_that_is_killed_leaves_the_old_table(tmp_path, monkeypatch):
    save_faults(FAULTS, tmp_path / "faults.json")

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        append_faults([Fault("c", "d")], tmp_path / "faults.json", "epoch 1, step 2")
    assert len(load_faults(tmp_path / "faults.json")) == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[]", "is no table of faults"), ("{", "is no table of faults"), ('{"schema": 2}', "has schema 2, expected 1")],
)
def test_what_is_not_known_is_refused(tmp_path, content, reason):
    (tmp_path / "faults.json").write_text(content)
    with pytest.raises(UserError, match=reason):
        load_faults(tmp_path / "faults.json")


@pytest.mark.parametrize(
    ("num_files", "max_share", "refused"),
    [(10, 0.2, False), (9, 0.2, True), (2, 1.0, False), (3, 0.66, True), (7, 2 / 7, False), (100, 0.0, True)],
)
def test_more_than_the_share_is_refused_and_as_much_is_not(num_files, max_share, refused):
    if refused:
        with pytest.raises(UserError, match=rf"2 of {num_files} files .*상자\.h5: is empty.*; /data/b\.h5: 6 frames"):
            refuse_too_many(FAULTS, num_files, max_share)
    else:
        refuse_too_many(FAULTS, num_files, max_share)


def test_many_are_counted_and_three_are_named():
    faults = [Fault(f"{i}.h5", "gone") for i in range(5)]
    with pytest.raises(UserError, match=r"0\.h5: gone; 1\.h5: gone; 2\.h5: gone; and 2 more; mend") as caught:
        refuse_too_many(faults, 6, 0.5)
    assert "3.h5" not in str(caught.value)
