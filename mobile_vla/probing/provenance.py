"""What the rows of a store depend on, and where they come from, as its manifest holds it.

In: a policy, the data whose validation episodes are looked into, and how. Out: a `StoreInfo`. Whether a store is made
by a probe or beside a training, it says the same things in the same words.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mobile_vla.contexts.manifest import StoreInfo
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.models.backbones.fingerprint import fingerprint_trained
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.policy import Policy
from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.sources.schema import Episode


def make_info(
    policy: Policy,
    model: ModelConfig,
    data: EpisodeDataModule,
    plan: SamplingPlan,
    *,
    taps: Sequence[str],
    batch_size: int,
    split: str | None,
    precision: str,
    run: Mapping[str, Any],
    variants: Sequence[str] = (),
    seed: int = 0,
    fingerprints: Mapping[str, str] | None = None,
) -> StoreInfo:
    """The policy with the weights that it has now.

    split  what of the run the episodes are;  seed  of what variants draw;  fingerprints  of what else changes the rows
    """
    told = plan.to_plain()
    del told["frames"]  # they are the rows
    settings = asdict(model)
    del settings["gradient_checkpointing"], settings["weights"]  # which weights they are, their fingerprint says
    configuration = {
        "plan": told,
        "taps": list(taps),
        "variants": list(variants),
        "seed": seed,
        "batch_size": batch_size,
        "split": split,
        "model": settings,
        "preprocessing": asdict(policy.preprocessing),
        "precision": precision,
        "data": {name: getattr(data.config, name) for name in ("window", "chunk", "action_shift")},
        "actions": asdict(data.actions),
    }
    episodes = data.episodes("validation")
    return StoreInfo(
        configuration=json.loads(json.dumps(configuration)),  # tuples as the lists that they come back as
        fingerprints={
            "base": policy.base_fingerprint,
            "trained": fingerprint_trained(policy.trained()),
            "episodes": _hash_episodes(episodes),
            "labels": _hash_labels(episodes),
            **(fingerprints or {}),
        },
        run=dict(run),
        steps=data.config.chunk,
        components=data.actions.components,
    )


def hash_plain(plain: Any) -> str:
    """Of plain values, as a fingerprint."""
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _hash_episodes(episodes: Sequence[Episode]) -> str:
    return hash_plain(sorted((episode.id, episode.fingerprint, episode.instruction) for episode in episodes))


def _hash_labels(episodes: Sequence[Episode]) -> str:
    return hash_plain(
        [
            (
                episode.id,
                sorted(episode.labels.items()),
                [(name, values.tolist()) for name, values in sorted(episode.frame_labels.items())],
            )
            for episode in sorted(episodes, key=lambda episode: episode.id)
        ]
    )
