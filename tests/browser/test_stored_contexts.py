"""Contexts that a training stores, and a probe, are found in TensorBoard: points, labels, pictures, charts.

What the browser shows is compared with the stores and with the episodes' files. TensorBoard runs from the beginning, as
people leave it open: it must find what is written later.
"""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import mobile_vla.contexts as contexts
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.browser.pages import Page, wait_for
from tests.cli.test_eval import WORDS, run

pytestmark = pytest.mark.slow
TRAINING, PROBE = "lab/left-and-right", "lab/probe of it"
STATE = """
    const projector = all('vz-projector')[0], panel = all('vz-projector-data-panel')[0];
    const sprite = projector?.dataSet?.spriteAndMetadataInfo?.spriteImage;
    if (!sprite?.complete || !decodeURIComponent(sprite.src).includes(`run=${arguments[0]}&`)) return null;
    const canvas = document.createElement('canvas');
    canvas.width = sprite.naturalWidth;
    canvas.height = sprite.naturalHeight;
    canvas.getContext('2d').drawImage(sprite, 0, 0);
    return {
        points: projector.dataSet.points.map(point => ({...point.metadata})),
        vectors: projector.originalDataSet.points.map(point => [...point.vector]),
        sprite: canvas.toDataURL('image/png').split(',')[1],
        runs: [...panel.runNames], run: panel.selectedRun,
        tensor: panel.selectedTensor, label: panel.selectedLabelOption,
        shown: projector.shadowRoot.textContent,
        fetched: performance.getEntriesByType('resource').map(e => [e.name, e.responseStatus]),
    };
"""


@dataclass(frozen=True, kw_only=True)
class Projected:
    """What the Projector holds in the browser."""

    run: str
    runs: list[str]
    tensor: str
    label: str
    shown: str
    points: list[dict[str, Any]]
    vectors: np.ndarray
    pictures: np.ndarray  # (N, side, side, 3)
    fetched: list[str]


def look(page: Page, run: str) -> Projected:
    """Open the Projector and choose the run, as a user does; there is nothing to choose where there is one run."""
    page.open("projector")
    for _ in range(2):  # a plugin's frame, and in it the Projector's own
        wait_for(lambda: page.ask("return all('iframe').length === 1"), "the Projector's frame")
        page.browser.switch_to.frame(page.ask("return all('iframe')[0]"))
    choose = "for (const e of all('paper-item')) if (e.textContent.trim() === arguments[0]) e.click()"
    wait_for(lambda: page.ask("return all('vz-projector-data-panel')[0].runNames.length"), "runs in the Projector")
    page.ask(choose, run)
    state = wait_for(lambda: page.ask(STATE, run), f"{run} in the Projector")
    sprite = np.asarray(Image.open(io.BytesIO(base64.b64decode(state.pop("sprite")))).convert("RGB"))
    num = len(state["points"])
    across = int(np.ceil(np.sqrt(num)))
    side = sprite.shape[1] // across
    tiles = [sprite[i // across * side :, i % across * side :][:side, :side] for i in range(num)]
    state["fetched"] = [name.partition("?")[0].rpartition("/")[2] for name, status in state["fetched"] if status == 200]
    return Projected(**(state | {"vectors": np.array(state["vectors"]), "pictures": np.stack(tiles)}))


def recorded(split: Path, episode: str, frame: int, side: int) -> np.ndarray:
    rows = [row for part in json.loads(split.read_text())["splits"].values() for row in part]
    with h5py.File(next(row["file"] for row in rows if row["episode"] == episode)) as file:
        picture = Image.fromarray(np.asarray(file["images"])[frame])
    return np.asarray(picture.resize((side, side)), float)


@pytest.fixture(scope="module")
def first_epoch(page, logdir, tmp_path_factory) -> Projected:
    """What is seen when one epoch is trained."""
    folder = tmp_path_factory.mktemp("data") / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=20, frames=11, resolution=(27, 48), workers=1), folder)
    words = [*WORDS, "callbacks=probe", f"data.root={folder}", f"data.pack_dir={tmp_path_factory.mktemp('pack')}"]
    assert run("train", *words, "trainer.max_epochs=1", f"out={logdir / TRAINING}") == 0
    return look(page, f"{TRAINING}/projector/epoch_000")


@pytest.fixture(scope="module")
def second_epoch(page, logdir, first_epoch) -> Projected:
    """The same run goes on."""
    assert run("train", f"run={logdir / TRAINING}", "trainer.max_epochs=2") == 0
    return look(page, f"{TRAINING}/projector/epoch_001")


@pytest.fixture(scope="module")
def probed(page, logdir, second_epoch) -> Projected:
    words = ("probe.variants=[swap]", "probe.attention={episodes: 1, frames: 2}", "checkpoint=last")
    assert run("probe", f"run={logdir / TRAINING}", *words, f"out={logdir / PROBE}") == 0
    return look(page, PROBE)


@pytest.mark.parametrize(
    ("seen", "store", "rows", "tensor"),
    [
        ("first_epoch", f"{TRAINING}/contexts/epoch_000", 20, "context of epoch_000"),
        ("second_epoch", f"{TRAINING}/contexts/epoch_001", 20, "context of epoch_001"),
        ("probed", f"{PROBE}/contexts", 40, "context"),
    ],
)
def test_the_projector_shows_what_is_stored(request, logdir, seen, store, rows, tensor):
    seen, stored = request.getfixturevalue(seen), contexts.open(logdir / store)
    assert (len(stored), seen.tensor) == (rows, tensor)
    assert f"Points: {rows}" in seen.shown
    assert "Dimension: 32" in seen.shown
    assert {"tensor", "metadata", "sprite_image"} <= set(seen.fetched)
    assert seen.label == "direction", "what people look for first is written at the points"
    names = ("episode", "frame", "variant", "instruction")
    columns = [stored.column(name).tolist() for name in names]
    assert [tuple(point[name] for name in names) for point in seen.points] == list(zip(*columns, strict=True))
    assert {point["direction"] for point in seen.points} == {"left", "right"}
    assert [point["direction"] for point in seen.points] == stored.column("label.direction").tolist()
    np.testing.assert_allclose(seen.vectors, stored.vectors("context")[:], atol=1e-5)
    split = logdir / TRAINING / "split.json"
    frames = np.stack([recorded(split, p["episode"], p["frame"], seen.pictures.shape[1]) for p in seen.points])
    errors = np.abs(seen.pictures[:, None] - frames[None]).mean(axis=(2, 3, 4))  # (picture, frame)
    assert (np.diag(errors) < 6).all()
    assert (np.diag(errors) <= errors.min(axis=1)).all(), "each point's picture is its own frame"


def test_only_the_newest_epoch_of_a_training_is_a_run_of_the_projector(probed):
    assert sorted(probed.runs) == [f"{TRAINING}/projector/epoch_001", PROBE]


def test_histograms_of_every_epoch_and_of_the_probe(page, probed):
    page.open("histograms")
    tags = ("contexts/context/norms", "contexts/context/values")
    expected = {(tag, of): epochs for tag in tags for of, epochs in ((TRAINING, 2), (PROBE, 1))}
    wait_for(lambda: find_histograms(page) == expected, f"curves of {expected}")


def find_histograms(page: Page) -> dict[tuple[str, str], int]:
    """(tag, run) -> how many curves are drawn."""
    found = page.ask("""
        return all('tf-histogram-loader').map(card => [
            card.tag, card.run,
            all('vz-histogram-timeseries', card.shadowRoot)
                .flatMap(chart => [...chart.shadowRoot.querySelectorAll('.histogram path')])
                .filter(path => path.getAttribute('d')?.length > 20).length,
        ])
    """)
    return {(tag, run): curves for tag, run, curves in found if curves}


def test_one_chart_has_the_numbers_of_training_and_probe(page, probed):
    page.open("scalars")
    fields = "return all('tf-tag-filterer').flatMap(filter => all('input', filter.shadowRoot))"
    field = wait_for(lambda: page.ask(fields), "the filter of tags")[0]
    field.send_keys("contexts/context/effective_rank")
    script = """
        const drawn = (card, of) => all('path', card.shadowRoot).filter(
            path => path.classList.contains(of) && path.getAttribute('d')?.length > 20).length;
        const card = all('tf-scalar-card')[0];  // what matches comes first
        return [card.tag, card.dataToLoad.map(({run}) => run), drawn(card, 'line') > 0, drawn(card, 'symbol')];
    """
    expected = ["contexts/context/effective_rank", [TRAINING, PROBE], True, 2]  # a curve; one point has a mark alone
    wait_for(lambda: page.ask(script) == expected, "the curve of the training and the point of the probe")


def test_the_attention_is_a_picture(page, probed):
    page.open("images")
    script = "return all('tf-image-loader').map(card => [card.tag, all('img', card.shadowRoot)[0]?.naturalWidth ?? 0])"
    wait_for(lambda: [(tag, width > 100) for tag, width in page.ask(script)] == [("attention/0", True)], "a film strip")
