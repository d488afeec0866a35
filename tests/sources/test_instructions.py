"""The file's own instruction, else the table's, else the default."""

import pytest

from mobile_vla.sources.instructions import InstructionConfig, choose_instruction, count_sources

CONFIG = InstructionConfig(by="direction", table={"left": "Go left"}, default="Go")


@pytest.mark.parametrize(
    ("own", "labels", "expected"),
    [
        ("Own words", {"direction": "left"}, ("Own words", "file")),
        (None, {"direction": "left"}, ("Go left", "table")),
        (None, {"direction": "right"}, ("Go", "default")),
        (None, {"path": "left"}, ("Go", "default")),
        (None, {}, ("Go", "default")),
    ],
)
def test_file_then_table_then_default(own, labels, expected):
    assert choose_instruction(own, labels, CONFIG) == expected


def test_the_table_may_be_keyed_by_another_label():
    config = InstructionConfig(by="path", table={"left": "Path left"})
    assert choose_instruction(None, {"direction": "right", "path": "left"}, config) == ("Path left", "table")


def test_sources_are_counted(make_episode):
    assert count_sources([make_episode("a"), make_episode("b")]) == {"file": 2, "table": 0, "default": 0}


@pytest.mark.parametrize("settings", [{"table": {"left": " "}}, {"default": ""}])
def test_empty_texts_are_refused(settings):
    with pytest.raises(ValueError, match="texts must not be empty"):
        InstructionConfig(**settings)
