"""From episodes to verdicts: worlds whose truth is known, a policy fine-tuned on each, what its contexts are called.

Slow: each world is simulated, trained on for minutes, probed on episodes that were recorded afterwards, and judged.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from mobile_vla.cli.registry import load_command
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.outcome import find_outcome
from mobile_vla.settings.conf_folder import find_conf_folder

pytestmark = pytest.mark.slow
EPISODES, FRESH = 160, 120
# Of 120 episodes the box's distance, one of three, is told with accuracy .64 [.53, .74], and the margin .60 is in it.
# A probe that learns from more episodes tells more, of the same contexts.
MANY = 300
LONGER = ("trainer.max_epochs=72",)  # after 24, F by image is .22 [.19, .25], and the margin .25 is not beyond it


def run(name: str, *arguments: str) -> None:
    assert find_outcome(lambda: launch(load_command(name), arguments, find_conf_folder())) == 0


def verdicts_of(folder: Path, name: str, *arguments: str) -> dict:
    out = folder / f"report_{name}"
    run("compare", f"left={folder / name}", "permutations=199", "spikes=60", f"out={out}", *arguments)
    return json.loads((out / "compare.json").read_text())["verdicts"]["left"]


def fine_tune_and_probe(folder: Path, world: str, *settings: str, fresh: int = FRESH) -> None:
    files = (f"world={world}", "resolution=[180,320]")  # the model sees 64 x 64
    run("synth", f"out={folder / 'episodes'}", f"episodes={EPISODES}", *files)
    run("synth", f"out={folder / 'fresh'}", f"episodes={fresh}", *files, "seed=1")
    run("train", "experiment=demo", f"data.root={folder / 'episodes'}", f"out={folder / 'run'}", *settings)
    run(
        "probe",
        f"run={folder / 'run'}",
        f"data.root={folder / 'fresh'}",
        f"probe.plan.episodes={fresh}",
        "probe.variants=[swap,paraphrase,donor]",
        "probe.taps=[context,pixels]",
        f"out={folder / 'probe'}",
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    fine_tune_and_probe(folder, "full", fresh=MANY)
    return folder


def test_what_needs_both_inputs_and_learnt_both_is_clear(full):
    found = verdicts_of(full, "probe")
    assert {claim: one["verdict"] for claim, one in found.items()} == {
        "preserving": "yes",
        "discriminative": "yes",
        "actionable": "yes",
    }
    assert {part: one["verdict"] for part, one in found["actionable"]["parts"].items()} == {
        "image": "yes",
        "instruction": "yes",
    }


def test_with_what_is_known_of_the_episodes_dealt_to_others_nothing_is(full):
    """Same contexts, but labels and actions of another episode."""
    run("export", f"store={full / 'probe' / 'contexts'}", f"out={full / 'arrays'}")
    file = full / "arrays" / "context_metadata.json"
    content = json.loads(file.read_text())
    own = [row for row in content["annotations"] if row["variant"] == "own"]
    episodes = sorted({row["episode"] for row in own})
    taken = dict(zip(episodes, np.random.default_rng(0).permutation(episodes).tolist(), strict=True))
    known = {(row["episode"], row["progress"]): row for row in own}
    content["annotations"] = [
        {**row, **{name: known[taken[row["episode"]], row["progress"]][name] for name in ("action", "distance")}}
        for row in content["annotations"]
    ]
    file.write_text(json.dumps(content))
    run("import", f"path={full / 'arrays'}", f"out={full / 'dealt'}")
    found = verdicts_of(full, "dealt", "targets=[distance]")
    assert found["preserving"]["verdict"] != "yes"
    assert found["discriminative"]["verdict"] != "yes"


def test_where_the_image_alone_decides_the_instruction_part_is_not_a_yes_and_says_why(tmp_path):
    fine_tune_and_probe(tmp_path, "instruction_blind", *LONGER)
    parts = verdicts_of(tmp_path, "probe")["actionable"]["parts"]
    assert parts["image"]["verdict"] == "yes"
    assert parts["instruction"]["verdict"] in ("no", "undecided")
    assert "following the instruction cannot be measured" in parts["instruction"]["why"]


def test_a_policy_that_cannot_read_its_instruction_acts_on_the_image_alone(tmp_path):
    """`legacy` overwrites the text with image tokens: nothing that is told can arrive.

    In a world where the image alone decides: where both are needed, one that reads no text cannot follow the image.
    """
    fine_tune_and_probe(tmp_path, "instruction_blind", "model.layout=legacy", "doctor.refuse=false", *LONGER)
    parts = verdicts_of(tmp_path, "probe")["actionable"]["parts"]
    assert parts["image"]["verdict"] == "yes"
    assert parts["instruction"]["verdict"] in ("no", "undecided")
    assert parts["instruction"]["why"]
