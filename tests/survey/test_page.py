"""The page stands alone, says what the files say, and nothing that a file holds becomes part of its code."""

import base64
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobile_vla.survey.contact import choose_shown
from mobile_vla.survey.figures import MAX_SHOWN, draw_all, shorten
from mobile_vla.survey.notes import write_notes
from mobile_vla.survey.page import format_bytes, write_page
from tests.conftest import BOX_NAME, KOREAN, draw_actions

VOID = {"meta", "img", "br", "link"}
EVIL = "<script>alert(1)</script> & 'x' \"y\""


class Outline(HTMLParser):
    """Tags that are open, every attribute, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes.get(name) for found, attributes in self.tags if found == tag]


def page_of(survey, out: Path, shown: int = 2) -> tuple[str, Outline]:
    out.mkdir()
    text = write_page(survey, write_notes(survey), choose_shown(survey.episodes, shown), out).read_text("utf-8")
    return text, Outline(text)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, write_episode, survey_of) -> tuple[Path, str, Outline]:
    """Two layouts, Korean, markup in names, labels and texts; one broken file; a copy. Folder, page, its outline."""
    folder = tmp_path_factory.mktemp("page") / "data <i>"
    for i in range(6):
        name = BOX_NAME.replace("113519", f"1135{i:02}").replace("left", ("left", "right")[i % 2])
        write_episode(folder / f"{name}.h5", "v5" if i % 2 else "v3", 9, seed=i, scenario="<b>&")
    write_episode(folder / f"{KOREAN}.h5", "v3", 9, seed=7, instruction=EVIL)
    write_episode(folder / "copy <b>.h5", "v3", 9, seed=7, instruction=EVIL)
    (folder / "broken <u>.h5").write_bytes(b"<script>")
    return folder.parent / "out", *page_of(survey_of(folder), folder.parent / "out")


def test_the_page_needs_nothing_but_itself(mixed):
    _, text, page = mixed
    assert not {"script", "link", "iframe", "i", "u"} & {tag for tag, _ in page.tags}
    for address in page.attributes("img", "src"):
        kind, content = str(address).split(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        Image.open(BytesIO(base64.b64decode(content))).verify()
    assert all(str(href).startswith("#") for href in page.attributes("a", "href"))
    assert "url(" not in text
    assert "@import" not in text


def test_what_files_hold_is_shown_and_stays_text(mixed):
    _, _, page = mixed
    for told in (KOREAN, EVIL, "<b>&", "broken <u>.h5", "copy <b>", "data <i>"):
        assert told in page.text


def test_every_section_is_reached_and_every_image_described(mixed):
    _, _, page = mixed
    targets = {str(href)[1:] for href in page.attributes("a", "href")}
    assert targets == set(page.attributes("h2", "id"))
    assert all(alt and alt.strip() for alt in page.attributes("img", "alt"))
    assert len(targets) == 11


def test_the_contact_sheet_keeps_the_shape_of_frames_and_the_limit(mixed):
    _, _, page = mixed
    sizes = [
        (a["width"], a["height"]) for tag, a in page.tags if tag == "img" and str(a["src"]).startswith("data:image/j")
    ]
    assert set(sizes) == {("150", "90")}  # frames of 40 x 24
    assert len(sizes) == 5 * (2 + 2)  # the sheet, and the two copies


def test_figures_lie_beside_the_page(mixed):
    names = {file.stem for file in (mixed[0] / "figures").glob("*.png")}
    assert names == {"labels", "lengths", "actions", "trajectories", "course"}


def test_a_page_without_labels_or_known_actions(tmp_path, write_episode, survey_of):
    write_episode(tmp_path / "data" / "a.h5", "v3", 5)
    _, page = page_of(survey_of(tmp_path / "data", action_shift=9), tmp_path / "out")
    assert "No frame has a known action." in page.text
    assert "No file name and no attribute says a label." in page.text
    assert {file.stem for file in (tmp_path / "out" / "figures").glob("*.png")} == {"lengths"}


def test_text_that_a_figure_cannot_draw_gets_a_key(recwarn, tmp_path, write_episode, survey_of):
    for i in range(MAX_SHOWN + 3):
        write_episode(tmp_path / f"{i}.h5", "v5", 9, seed=i, instruction=f"{KOREAN} {i}", scenario=f"{KOREAN} {i}")
    drawn = draw_all(survey_of(tmp_path))
    for one in drawn.values():
        one.figure.canvas.draw()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert f"{KOREAN} 0" in drawn["course"].keys.values()
    assert f"{KOREAN} 0" in drawn["labels"].keys.values()


def test_keys_are_for_what_needs_one():
    assert shorten(["left", KOREAN, "x" * 40]) == {"left": "left", KOREAN: "#2", "x" * 40: "#3"}


def test_paths_are_drawn_as_the_robot_drives(tmp_path, write_episode, survey_of):
    """Forward is up, and the robot's left is left."""
    for i in range(2):
        actions = draw_actions(9, seed=i) * 0 + np.array([1, 1, 0], np.float32)
        actions[0] = 0.5 * i
        write_episode(tmp_path / f"{i}.h5", "v3", 9, actions=actions, seed=i)
    axis = draw_all(survey_of(tmp_path))["trajectories"].figure.axes[0]
    x, y = axis.lines[0].get_data()
    assert x[-1] - x[0] < -5
    assert y[-1] - y[0] > 5


def test_sizes():
    told = {0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 999_600: "1 MB", 25_110_000: "25.1 MB", 12.5e9: "12.5 GB"}
    assert {number: format_bytes(number) for number in told} == told
    assert format_bytes(5e15) == "5e+03 TB"
