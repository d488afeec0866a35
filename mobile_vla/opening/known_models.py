"""The models of `conf/model/`, to recognise a checkpoint by; without what is trained of them, which its shapes tell."""

import yaml

from mobile_vla.models.backbones.model_config import RANDOM, ModelConfig
from mobile_vla.settings.conf_folder import find_conf_folder


def list_models() -> dict[str, ModelConfig]:
    """By name. Of a downloaded model only the shapes count here, and those are the default architecture's."""
    found = {}
    for file in sorted((find_conf_folder() / "model").glob("*.yaml")):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        kind = ModelConfig.choose(values)
        found[file.stem] = kind(weights=RANDOM, architecture=values.get("architecture") or {})
    return found
