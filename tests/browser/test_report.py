"""The report of `compare` in a browser: one file, opened from where it was sent to, that says what was found."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from mobile_vla.analysis.report.words import write_interval, write_number
from tests.analysis.planted_store import Wanted, write_planted
from tests.browser.pages import Programs, start_browser, wait_for
from tests.cli.test_compare import compare

pytestmark = pytest.mark.slow
CLAIMS = {
    "Does it tell situations apart?": ("discriminative", None),
    "Does it hold what the next actions depend on?": ("preserving", None),
    "Does the policy act on what it is told?": ("actionable", "instruction"),
    "Does the policy act on what it is shown?": ("actionable", "image"),
}
STORES = {"full": "left", "empty": "right"}  # what the page calls them, and compare.json
CARDS = """
    return [...document.querySelectorAll('h2')].map(title => [
        title.innerText,
        [...(title.nextElementSibling?.querySelectorAll('.card') ?? [])].map(card => [
            card.querySelector('.head b').innerText, card.querySelector('.badge').innerText.slice(2), card.innerText
        ])
    ]).filter(([, cards]) => cards.length)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("보고서 (1), a=b")
    write_planted(folder / "full", Wanted(masks=True, layers=True))
    write_planted(folder / "empty", Wanted(label=0, action=0, followed=0))
    assert compare(folder, "left=full", "right=empty", "out=pair") == 0
    return folder


@pytest.fixture(scope="module")
def found(folder) -> dict:
    return json.loads((folder / "pair" / "compare.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def browser(programs: Programs, folder, tmp_path_factory) -> Iterator[webdriver.Chrome]:
    """Looks at the page, alone in another folder than the one that it was written to."""
    logged = {"browser": "ALL", "performance": "ALL"}
    browser = start_browser(programs, tmp_path_factory.mktemp("profile"), loggingPrefs=logged)
    sent = shutil.copy(folder / "pair" / "report.html", tmp_path_factory.mktemp("다른 곳"))
    browser.get(Path(sent).as_uri())
    wait_for(lambda: browser.execute_script("return document.readyState === 'complete'"), "the page")
    yield browser
    browser.quit()


def test_nothing_is_asked_for_elsewhere_and_nothing_goes_wrong(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    asked = [one["request"]["url"] for one in sent if one["documentURL"] == browser.current_url]
    assert [address for address in asked if not address.startswith("data:")] == [browser.current_url]
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def test_every_picture_is_drawn_in_its_size(browser):
    script = (
        "return [...document.images].map(i => [i.complete, i.naturalWidth, Number(i.getAttribute('width')), i.alt])"
    )
    pictures = browser.execute_script(script)
    assert len(pictures) > 10
    for complete, width, told, alt in pictures:
        assert complete, alt
        assert width == told > 100, alt
        assert len(alt) > 20


def test_the_cards_say_what_was_found(browser, found):
    stores = dict(browser.execute_script(CARDS))
    assert list(stores) == list(STORES)
    for name, cards in stores.items():
        store = STORES[name]
        assert [question for question, *_ in cards] == list(CLAIMS)
        for question, answer, text in cards:
            claim, part = CLAIMS[question]
            verdict = found["verdicts"][store][claim]
            verdict = verdict if part is None else verdict["parts"][part]
            assert answer == verdict["verdict"]
            assert verdict["why"] in text
            assert f"Margin {write_number(verdict['margin'])}" in text
            if verdict["statistic"] is not None:
                assert f"{write_number(verdict['statistic'])} {write_interval(tuple(verdict['ci']))}" in text
                assert f"{verdict['unit']}\n{verdict['n']}\n" in text
                end = "decide" if answer == "undecided" else "overturn"
                assert f"Would {end} it: {verdict['overturned']}." in text


def test_the_table_at_a_glance_says_the_same(browser, found):
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.glance tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    assert rows[0] == ["claim", *(f"{name}: value [90 % interval]" for name in STORES)]
    for (claim, part), (_, *cells) in zip(CLAIMS.values(), rows[1:], strict=True):
        for store, cell in zip(STORES.values(), cells, strict=True):
            verdict = found["verdicts"][store][claim]
            verdict = verdict if part is None else verdict["parts"][part]
            assert verdict["verdict"] in cell
            assert write_number(verdict["statistic"]) in cell


@pytest.mark.parametrize("width", [1150, 600])
def test_it_is_never_wider_than_the_window(browser, width):
    browser.set_window_size(width, 900)
    inside, whole = browser.execute_script(
        "const page = document.documentElement; return [page.clientWidth, page.scrollWidth]"
    )
    assert whole <= inside
