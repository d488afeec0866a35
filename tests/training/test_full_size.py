"""The real architecture, with random weights: one step of the lab's recipe on a CPU, within 16 GB."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes


@pytest.mark.slow
def test_one_step_of_the_labs_recipe_fits_16_gb(tmp_path: Path):
    # Episodes of one window, so that the measurement is the step and not the validation.
    write_episodes(SynthConfig(episodes=10, frames=8, resolution=(90, 160), workers=1), tmp_path / "data")
    words = [
        "train",
        "experiment=mobile_vla_lora",
        "model=kosmos2",
        "model.weights=random",
        "trainer=cpu",
        "trainer.precision=bf16-mixed",
        "trainer.max_steps=1",
        f"data.root={tmp_path / 'data'}",
        f"data.pack_dir={tmp_path / 'packed'}",
        f"out={tmp_path / 'run'}",
    ]
    done = subprocess.run([sys.executable, "-m", "mobile_vla", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "train.json").read_text())
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    print(
        f"\npeak {peak_gb:.1f} GB, {found['seconds']:.0f} s in all, {found['windows_per_s']:.3f} windows/s, "
        f"checkpoint {found['checkpoint_bytes'] / 1e9:.3f} GB"
    )
    assert found["steps"] == 1
    assert found["parameters"] == {"trainable": 43_089_920 + 12_737_300 + 2_048, "total": 1_720_314_644}
    assert found["checkpoint_bytes"] <= 0.75e9
    assert peak_gb < 16
