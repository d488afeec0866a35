"""The drawing of a verdict: everything inside, everything in order, nothing where nothing was measured."""

import re
from dataclasses import replace
from xml.etree import ElementTree

from mobile_vla.analysis.report.strip import WIDTH, draw_strip
from mobile_vla.analysis.report.words import headline, write_interval, write_needed, write_number, write_p
from mobile_vla.analysis.verdicts.verdict import Verdict, undecided

VERDICT = Verdict(
    verdict="yes",
    target="scenario",
    measure="balanced <accuracy>",
    statistic=0.9,
    ci=(0.8, 1.0),
    margin=0.7,
    p_yes=0.001,
    p_no=1.0,
    n=40,
    n_needed=None,
    why="",
    baselines={"majority": 0.5, "<pixels>": 0.6, "unknown": None, "lost": float("nan")},
)


def places(verdict: Verdict) -> dict[str, float]:
    root = ElementTree.fromstring(str(draw_strip(verdict)))
    told = {part.get("class"): part for part in root.iter() if part.get("class")}
    found = {name: float(told[name].get("x1")) for name in ("null", "margin")}
    low, high = (float(told["interval"].get(end)) for end in ("x1", "x2"))
    return {**found, "low": low, "estimate": float(told["estimate"].get("cx")), "high": high}


def test_places_are_in_the_order_of_the_numbers_and_inside():
    found = places(VERDICT)
    assert 0 < found["null"] < found["margin"] < found["low"] < found["estimate"] < found["high"] < WIDTH
    below = places(replace(VERDICT, statistic=-3.0, ci=(-4.0, -2.0), baselines={}))
    assert 0 < below["low"] < below["estimate"] < below["high"] < below["null"] < below["margin"] < WIDTH


def test_baselines_that_could_not_be_measured_are_not_drawn():
    drawn = str(draw_strip(VERDICT))
    assert re.findall(r"<title>(.*?)</title>", drawn) == ["&lt;pixels&gt;"]
    assert "nan" not in drawn


def test_nothing_measured_nothing_drawn():
    assert str(draw_strip(undecided("scenario", "F", 0.25, 3, "too few"))) == ""


def test_words():
    assert write_number(-0.126) == "−0.13"
    assert (write_interval((-1, 0.5)), write_interval(None)) == ("[−1.00, 0.50]", "–")
    assert (write_p(0.0001), write_p(0.05), write_p(1.0), write_p(None)) == ("< .001", ".050", "1.000", "–")
    needed = replace(VERDICT, verdict="undecided", n=9, n_needed=40)
    assert headline(needed) == "undecided: 9 episodes, about 40 are needed for this margin"
    assert headline(replace(needed, n_needed=10)) == "undecided, with 9 episodes"
    assert [write_needed(replace(needed, n_needed=number)) for number in (40, 10, None)] == [
        "about 40",
        "more than these 9",
        "not known: see above",
    ]
