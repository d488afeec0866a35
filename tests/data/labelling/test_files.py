"""Tables as users keep them: what is written is what is read, and nothing else."""

import json
from datetime import date

import pyarrow
import pytest
from pyarrow import parquet

from mobile_vla.core.errors import UserError
from mobile_vla.data.labelling.files import read_rows


@pytest.fixture
def read(tmp_path):
    """Writes a table and reads its rows: text for CSV and JSON lines, plain values for JSON, records for Parquet."""

    def read_it(content, kind="csv", **writing):
        file = tmp_path / f"labels.{kind}"
        if kind == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(content), file)
        elif isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content), **writing)
        return [dict(row.values) for row in read_rows(file)]

    return read_it


def test_a_csv_cell_is_text_as_it_stands(read):
    assert read("episode,a,b,c,d\ne1,True,1,03,1e5\n") == [
        {"episode": "e1", "a": "True", "b": "1", "c": "03", "d": "1e5"}
    ]


def test_a_csv_as_spreadsheets_write_it(read):
    """A mark at its start, quoted cells, blanks around words, rows without content at its end."""
    content = '\ufeffepisode, direction \r\n"e,1", left \r\n"e ""2""",오른쪽\r\n,\r\n\r\n'
    assert read(content, encoding="utf-8", newline="") == [
        {"episode": "e,1", "direction": "left"},
        {"episode": 'e "2"', "direction": "오른쪽"},
    ]


VALUES = [
    ("left", "left"),
    (3, "3"),
    (3.0, "3"),
    (0.25, "0.25"),
    (True, "true"),
    (False, "false"),
    ([0, 1.5, 2, 3], (0.0, 1.5, 2.0, 3.0)),
]


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize(("written", "read_as"), VALUES)
def test_typed_values_become_text_or_lists_of_numbers(read, kind, written, read_as):
    record = {"episode": "e1", "x": written}
    assert read([record] if kind != "jsonl" else record, kind) == [{"episode": "e1", "x": read_as}]


def test_a_date_in_parquet(read):
    assert read([{"episode": "e1", "session": date(2025, 12, 4)}], "parquet")[0]["session"] == "2025-12-04"


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("empty", [None, "", "  ", float("nan"), []])
def test_what_is_empty_is_no_value(read, kind, empty):
    other = [0.5] if empty == [] else 0.5 if isinstance(empty, float) else "left"
    rows = read([{"episode": "e1", "x": empty}, {"episode": "e2", "x": other}], kind)
    assert rows[0] == {"episode": "e1"}
    assert "x" in rows[1]


def test_an_empty_csv_cell_is_no_value(read):
    assert read("episode,x,y\ne1,,left\n") == [{"episode": "e1", "y": "left"}]


def test_json_by_episode(read):
    assert read({"e1": {"direction": "left", "boxes": 2}, "e2": {}}, "json") == [
        {"episode": "e1", "direction": "left", "boxes": "2"},
        {"episode": "e2"},
    ]


def test_json_lines_skip_empty_lines(read):
    assert len(read('{"episode": "e1"}\n\n{"episode": "e2"}\n', "jsonl")) == 2


WRONG = [
    (
        "csv",
        "Episode,direction\ne1,left\n",
        r"no column 'episode' \(there are \['Episode', 'direction'\]\); did you mean",
    ),
    ("csv", "name,direction\ne1,left\n", r"no column 'episode' \(there are \['name', 'direction'\]\)$"),
    ("csv", "episode,x\n,left\n", "line 2 names no episode"),
    ("csv", "episode,x\ne1,left,right\n", "line 2 has 3 values for 2 columns"),
    ("csv", "episode,x,x\ne1,left,right\n", "names 'x' twice"),
    ("csv", "episode,x\n", "holds no rows"),
    ("csv", "episode,방향\ne1,왼쪽\n".encode("cp949"), "is not UTF-8"),
    ("json", '{"e1": {"x": 1}, "e1": {"x": 2}}', "names 'e1' twice"),
    ("json", '{"e1": "left"}', "expected a list of records"),
    ("json", "[1, 2]", "expected a list of records"),
    ("json", '[{"episode": "e1",}]', "no valid JSON"),
    ("json", '[{"episode": "e1", "x": {"y": 1}}]', "record 1: 'x' is {'y': 1}; expected text"),
    ("json", '[{"episode": "e1", "x": [1, null]}]', "expected text, a number, true, false or a list of numbers"),
    ("jsonl", '{"episode": "e1"}\n[1]\n', "line 2: expected a record"),
    ("jsonl", '{"episode": "e1"}\n{\n', "line 2: no valid JSON"),
    ("xlsx", "PK", "expected a .csv, .json, .jsonl or .parquet file, got '.xlsx'"),
]


@pytest.mark.parametrize(("kind", "content", "message"), WRONG)
def test_a_table_that_cannot_be_read_is_told(read, kind, content, message):
    with pytest.raises(UserError, match=message):
        read(content, kind)


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "labels.parquet").write_text("episode,x")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_rows(tmp_path / "labels.parquet")


def test_a_missing_table(tmp_path):
    with pytest.raises(UserError, match=r"data\.labels: no such file: .*labels\.csv"):
        read_rows(tmp_path / "labels.csv")
