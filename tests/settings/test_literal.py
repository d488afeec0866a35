"""Outside a sweep, a value that Hydra cannot read is the text itself; one that it can read keeps its meaning."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mobile_vla.settings.literal import quote, read_text

LITERALS = [
    "/data/my episodes/run (1)",
    "/data/에피소드/왼쪽, 오른쪽",
    "a,b",
    "seed=1,2",
    "x=y=z",
    "lr(0.1)",
    "range(1,3)",
    "choice(a,b)",
    "str(3)",
    "glob(*)",
    "it's",
    'say "hi", twice',
    "'half",
    '"half',
    "#5 & more; <x> ^ `y` ~z!",
    "~/episodes",
    "C:\\data (1)\\",
    "ends, with \\",
    "\\\\server\\share, x",
    "[unclosed",
    "closed]",
    "{a",
    "[a b](c)",
    " leading",
    "trailing ",
    "   ",
    "tab\there, too",
    "line\nbreak",
    "cost is ${x",
    "a (${x})",
    "\\${x}, (y)",
    "$HOME, $(pwd)",
    "${a b}",
    "???x,",
    "한글",
]

VALUES = [
    ("3", 3),
    ("-2.5e-3", -2.5e-3),
    ("true", True),
    ("null", None),
    ("[1,2,3]", [1, 2, 3]),
    ("[a, 'b c']", ["a", "b c"]),
    ("{a:1,b:[x]}", {"a": 1, "b": ["x"]}),
    ("'a, b'", "a, b"),
    ('"say (it)"', "say (it)"),
    ("a\\,b", "a,b"),
    ("C:\\data\\x", "C:\\data\\x"),
    ("runs/train/x", "runs/train/x"),
    ("${seed}", 0),
    ("step-${seed}", "step-0"),
    ("", ""),
    ("two words", "two words"),
]


@pytest.mark.parametrize("text", LITERALS)
def test_what_hydra_cannot_read_arrives_unchanged(bench, text):
    assert bench.run(f"nothing={text}") == 0
    assert bench.config["nothing"] == text


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_what_hydra_can_read_keeps_its_meaning(bench, text, value):
    assert bench.run(f"nothing={text}") == 0
    assert bench.config["nothing"] == value
    assert type(bench.config["nothing"]) is type(value)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab$\\{}[]()'\"=,# :~한글\t\n1.-", max_size=12))
def test_a_quoted_text_means_itself(text):
    value = OverridesParser.create().parse_override(f"key={quote(text)}").value()
    config = OmegaConf.create({"key": None})
    OmegaConf.update(config, "key", value)
    assert OmegaConf.to_container(config, resolve=True) == {"key": text}


@pytest.mark.parametrize("text", ["a b (1)", "runs/x=1,y=2", "3", "[a]", "한글"])
def test_a_path_is_a_text_whatever_it_looks_like(text):
    assert read_text(text) == text
    assert read_text(f"'{text}'") == text


def test_a_sweep_keeps_hydras_grammar(bench, refused):
    assert "cannot read 'text=a (b' in a sweep" in refused("--multirun", "text=a (b")
    assert bench.run("--multirun", "text='a, b',c") == 0
    assert [config["text"] for config, _ in bench.prepared] == ["a, b", "c"]
