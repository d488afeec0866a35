"""`compare` on planted stores ends in the right words: compare.json, the page, TensorBoard; it needs no torch."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobile_vla.cli.registry import load_command
from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.rows import RowId
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core import durable
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.outcome import find_outcome
from mobile_vla.settings.conf_folder import find_conf_folder
from tests.analysis.conftest import write_store
from tests.analysis.planted_store import Wanted, write_planted

QUICK = ("permutations=39", "spikes=60")
CLAIMS = ("preserving", "discriminative", "actionable")
MEASURES = ("cka", "cka_z", "mutual_knn", "procrustes", "drift", "decoding_difference")
VOID = {"meta", "img", "br", "line", "circle"}
WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning", "transformers", "peft"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refuse())
from mobile_vla.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Path:
    """full: everything is there; empty: nothing is, the head ignores what it is told; nine: too few episodes."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "_sync", lambda path: None)
        write_planted(folder / "full", Wanted(masks=True, layers=True))
        write_planted(folder / "empty", Wanted(label=0, action=0, followed=0))
        write_planted(folder / "nine", Wanted(episodes=9))
    return folder


def compare(folder: Path, *arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MOBILE_VLA_OUT", "SLURM_NTASKS"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        return find_outcome(lambda: launch(load_command("compare"), (*arguments, *QUICK), find_conf_folder()))


@pytest.fixture(scope="module")
def pair(stores: Path) -> Path:
    assert compare(stores, "left=full", "right=empty", "out=pair") == 0
    return stores / "pair"


@pytest.fixture(scope="module")
def found(pair: Path) -> dict:
    return json.loads((pair / "compare.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def page(pair: Path) -> str:
    return (pair / "report.html").read_text("utf-8")


class Outline(HTMLParser):
    """The text of each card, and whether every tag that is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.cards: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "data")]
        if tag == "section" and "card" in (dict(attrs).get("class") or ""):
            self.cards.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "section" in self.open and self.cards:
            self.cards[-1] += data


def test_what_is_planted_is_found(found):
    verdicts = found["verdicts"]
    assert {claim: verdicts["left"][claim]["verdict"] for claim in ("preserving", "discriminative")} == {
        "preserving": "yes",
        "discriminative": "yes",
    }
    assert verdicts["left"]["actionable"]["parts"]["instruction"]["verdict"] == "yes"
    assert verdicts["right"]["actionable"]["parts"]["instruction"]["verdict"] == "no"
    assert "yes" not in {verdicts["right"][claim]["verdict"] for claim in CLAIMS}
    assert verdicts["left"]["discriminative"]["target"] == "scenario"
    assert verdicts["left"]["actionable"]["parts"]["image"]["verdict"] == "undecided"


def test_the_fields_that_other_programs_read(found):
    assert found["schema"] == 1
    assert set(found["verdicts"]) == set(found["description"]) == set(found["stores"]) == {"left", "right"}
    fields = {
        "verdict",
        "target",
        "statistic",
        "ci",
        "margin",
        "p_yes",
        "p_no",
        "unit",
        "n",
        "n_needed",
        "why",
        "parts",
    }
    for of_store in found["verdicts"].values():
        assert set(of_store) == set(CLAIMS)
        assert all(fields <= set(verdict) for verdict in of_store.values())
    told = found["stores"]["left"]
    assert (told["name"], told["rows"], told["episodes"], told["tap"]) == ("full", 40 * 5 * 7, 40, "context")
    for name in MEASURES:
        measure = found["comparison"][name]
        assert measure["ci"][0] <= measure["value"] <= measure["ci"][1], name
        assert {"floor", "ceiling"} <= set(measure)
    assert found["comparison"]["decoding_difference"]["verdict"] == "left better"


def test_what_is_described(found):
    left, right = found["description"]["left"], found["description"]["right"]
    episodes = {"in_store": 40, "looked_at": 40, "scripts": 40, "copies": [], "trained_on": 0}
    assert left["episodes"].items() >= episodes.items()
    assert left["layers"]["left"] == ["context", "image_tokens", "text_layer_12"]
    assert left["layers"]["cka"][0][2] == pytest.approx(1.0, abs=1e-4)  # the other layer is a multiple of it
    assert left["layers"]["cka"][0][1] < 0.3  # noise
    assert right["layers"] is None
    moved = [left["effects"][f"mask_tokens_{2 * block:02d}-{2 * block + 1:02d}"] for block in range(4)]
    assert [effect["block"] for effect in moved] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert sorted(effect["chunk"]["value"] for effect in moved) == [effect["chunk"]["value"] for effect in moved]
    assert left["action_error"]["total"]["r2"] > 0.98


def test_the_page_says_it_and_stands_alone(page, pair, found):
    outline = Outline(page)
    assert len(outline.cards) == 8
    answers = [re.search(r"[●○◐] (yes|no|undecided)", card)[1] for card in outline.cards]
    names = ("discriminative", "preserving")
    parts = ("instruction", "image")
    assert answers == [
        answer
        for store in ("left", "right")
        for answer in (
            *(found["verdicts"][store][claim]["verdict"] for claim in names),
            *(found["verdicts"][store]["actionable"]["parts"][part]["verdict"] for part in parts),
        )
    ]
    assert "Would overturn it" in outline.cards[0]
    assert "at half of it" in outline.cards[0]
    assert re.search(r"A yes must beat: majority 0\.50 \(beaten\), .*For comparison: ", outline.cards[0], re.DOTALL)
    undecided = [card for card in outline.cards if "◐ undecided" in card and "p for yes" in card]
    assert undecided
    assert all("needed for this margin" in card and "Would decide it" in card for card in undecided)
    assert page.index("Recording: ") < page.index('id="verdicts"'), "what is known of the sessions comes first"
    assert len(outline.addresses) > 20
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in outline.addresses)
    assert not re.search(r"https?://|url\(|@import", page), "something is fetched from elsewhere"
    assert "<b>둘</b>" not in page  # a label is text, not a part of the page
    assert "&lt;b&gt;둘&lt;/b&gt;" in page
    assert len(page) < 3_000_000
    assert {file.name for file in (pair / "figures").iterdir()} >= {
        "verdicts.png",
        "full-map.png",
        "full-tokens.png",
        "power.png",
    }
    assert "illustration only" in page
    assert "../full" in page
    assert str(pair.parent) not in page, "paths are seen from where the page lies"


def test_tensorboard_has_the_numbers_and_the_figures(pair, found):
    events = EventAccumulator(str(pair)).Reload()
    statistic = events.Scalars("compare/discriminative/full")[0].value
    assert statistic == pytest.approx(found["verdicts"]["left"]["discriminative"]["statistic"])
    assert events.Scalars("compare/cka/full-empty")[0].value == pytest.approx(found["comparison"]["cka"]["value"])
    assert events.Images("verdicts")[0].encoded_image_string == (pair / "figures" / "verdicts.png").read_bytes()
    assert "compare/discriminative/full/text_summary" in events.Tags()["tensors"]


def test_nine_episodes_are_too_few_and_the_page_says_how_many_are_needed(stores, capsys):
    assert compare(stores, "left=nine", "out=few") == 0
    shown = capsys.readouterr().out
    assert "9, ≈ 16 needed" in shown
    assert shown.splitlines()[-1] == str(stores / "few")
    found = json.loads((stores / "few" / "compare.json").read_text("utf-8"))
    assert found["verdicts"]["left"]["discriminative"]["verdict"] == "undecided"
    assert found["comparison"] is None
    page = (stores / "few" / "report.html").read_text("utf-8")
    assert "undecided: 9 episodes, about 16 are needed for this margin" in page


def test_three_stores_are_a_leaderboard_and_three_pairs_and_one_beside_the_declared_changes_no_answer(stores, found):
    assert compare(stores, "stores=[full,empty,nine]", "declared=[full,empty]", "out=three") == 0
    more = json.loads((stores / "three" / "compare.json").read_text("utf-8"))
    assert list(more["verdicts"]) == ["full", "empty", "nine"]
    assert more["comparison"] is None
    assert [one["stores"] for one in more["comparisons"]] == [["full", "empty"], ["full", "nine"], ["empty", "nine"]]
    alone = found["comparison"]["decoding_difference"]["parts"]
    beside = more["comparisons"][0]["decoding_difference"]["parts"]
    assert {target: (one["verdict"], one["p"]) for target, one in beside.items()} == {
        target: (one["verdict"], one["p"]) for target, one in alone.items()
    }
    page = (stores / "three" / "report.html").read_text("utf-8")
    Outline(page)
    assert "full and empty" in page
    assert "Declared beforehand: the pairs among full, empty" in page


def test_stores_are_called_by_their_names_wherever_people_read(pair, found, page):
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    settings = text[text.index("Settings") :]
    assert "left=" in settings
    for words in (text[: text.index("Settings")], *found["comparison"]["says"], found["comparison"]["answer"]):
        assert not re.findall(r"[^.]*\b(?:[Ll]eft(?! out)|[Rr]ight)\b[^.]*", words.replace("left=&lt;", ""))
    assert "difference (full − empty)" in page
    assert found["stores"]["left"]["title"] == "full"
    drawn = {file.name for file in (pair / "figures").iterdir()}
    assert not any(re.search("left|right", name) for name in drawn)


def test_without_torch(stores):
    command = [sys.executable, "-c", WITHOUT_TORCH, "compare", "left=nine", "out=laptop", *QUICK]
    done = subprocess.run(command, cwd=stores, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (stores / "laptop" / "report.html").is_file()
    assert list((stores / "laptop").glob("events.out.tfevents.*"))


def test_mistakes_are_one_line_and_write_nothing(stores, capsys):
    (stores / "hollow").mkdir(exist_ok=True)
    if not (stores / "begun").exists():
        taps = {"context": TapSpec(shape=(2,))}
        with StoreWriter(stores / "begun", [RowId("a", 0, "go"), RowId("a", 1, "go")], taps, StoreInfo()):
            pass  # interrupted before anything came
    before = sorted(stores.iterdir())
    for arguments, message in {
        (): "left: missing",
        ("left=ful",): "left=ful: there is no such folder: did you mean 'full'?",
        ("left=hollow",): "left=hollow: no store of contexts there",
        ("left=full/manifest.json",): "is a file: expected a folder",
        ("right=full",): "right is given alone: give left as well",
        ("left=full", "right=full"): "is named twice",
        ("left=full", "stores=[empty]"): "stores names all of them",
        ("left=full", "right=empty", "tap=text_layer_12"): "has no such tap; there are context",
        ("left=full", "targets=[scenarios]"): "did you mean scenario?",
        ("left=full", "untrained=nowhere"): "untrained=nowhere: there is no such folder",
        ("left=full", "right=empty", "declared=[full]"): "declared: expected two stores or more",
        ("left=full", "right=empty", "declared=[full,emty]"): "declared: emty is none of the stores",
        ("left=begun",): "not complete: 0 of 2 planned rows are there",
    }.items():
        assert compare(stores, *arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert sorted(stores.iterdir()) == before


def test_other_episodes_have_nothing_in_common(stores, tmp_path, capsys):
    rows = range(3)
    vectors = {"context": [[1.0, 2.0]] * 3}
    write_store(tmp_path / "others", vectors, [f"x{row}" for row in rows], [0] * 3, [0.0] * 3)
    assert compare(stores, "left=nine", f"right={tmp_path / 'others'}") == 2
    assert "have no episode and frame in common" in capsys.readouterr().err


def test_few_permutations_cannot_reach_the_level(capsys):
    assert find_outcome(lambda: launch(load_command("compare"), ("left=x", "permutations=9"), find_conf_folder())) == 2
    assert "permutations: expected 19 or more" in capsys.readouterr().err
