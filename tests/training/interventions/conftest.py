"""A policy whose adapters do something, six validation episodes, and directions of its contexts as files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mobile_vla.contexts.plans import PlanConfig
from mobile_vla.contexts.sampling import make_plan
from mobile_vla.data.meaning import find_meanings


@pytest.fixture(scope="session")
def bench(lab, tmp_path_factory) -> SimpleNamespace:
    """policy, data, episodes (9, 12, 3, 7, 10 and 4 frames), meanings, plan, files of directions."""
    policy = lab.make_policy()
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    data = lab.make_data(num_validation=6)
    episodes = data.episodes("validation")
    folder = tmp_path_factory.mktemp("directions")
    rows = np.random.default_rng(0).normal(size=(3, policy.backbone.context_width)) * [[1], [30], [1e-2]]
    np.save(folder / "few.npy", rows)
    np.save(folder / "one.npy", rows[:1])
    return SimpleNamespace(
        policy=policy,
        data=data,
        episodes=episodes,
        meanings=find_meanings(data.dataset.episodes, "direction"),
        plan=make_plan(episodes, PlanConfig(progress=(0.0, 0.6, 1.0), episodes=6)),
        rows=rows,
        file=folder / "few.npy",
        another_file=folder / "one.npy",
    )
