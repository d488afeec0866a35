"""A policy's file from elsewhere: which of its tensors are parameters of ours, and with which settings they were made.

In: a path: a Lightning checkpoint, a file of RoboVLMs, a transformers folder, adapters of peft, a checkpoint or an
export of this package. Out: a `Foreign`. Nothing is built and no value is copied; what the file does not say is not
guessed: `needs` names it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mobile_vla.checkpoints.fitting import ELSEWHERE, infer_adapters, infer_head
from mobile_vla.checkpoints.formats import Format, recognise
from mobile_vla.checkpoints.hyperparameters import read_action_dim, read_settings
from mobile_vla.checkpoints.key_maps import EXPORTED_ADAPTER, EXPORTED_BASE, LAB, LM_HEAD, OURS, plain_name
from mobile_vla.checkpoints.opened import Opened, Weights
from mobile_vla.checkpoints.opening import open_checkpoint
from mobile_vla.checkpoints.parts import find_part, take_apart
from mobile_vla.checkpoints.portable import ADAPTER_WEIGHTS, BASE, HEAD, HEAD_WEIGHTS, SCHEMA, TOKEN
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.anatomy import Anatomy
from mobile_vla.models.backbones.model_config import BACKBONES, RANDOM, ModelConfig
from mobile_vla.models.heads.head import HEADS

TRANSFORMERS_CONFIG = "config.json"
CLIPPED = (-1.0, 1.0)  # the lab's actions were clipped to it, and its heads put out what they were trained on
HEAD_NAME = "model.head.name"
LSTM_SETTINGS = ("hidden", "layers", "mlp", "dropout")  # of an export from before there was a choice of heads
NOT_READING = ("weights", "architecture", "gradient_checkpointing", "lora", "head")  # all other settings of the model


@dataclass(frozen=True, kw_only=True)
class Said:
    """A setting that the file says, and where it says so."""

    value: Any
    where: str


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """places    where each parameter of ours lies: its plain name -> (weights, name in the file)
    left       names without a counterpart: never loaded
    said       settings by dotted name;  bounds  [low, high] of every component, where the format fixes them
    needs      settings that the file should say and does not, and why they matter
    known      metadata of a checkpoint of ours, or of an export of ours
    action_dim  components of the file's head, where its settings say so
    anatomy    of the backbone that it is of; formats from elsewhere are of Kosmos-2
    """

    path: Path
    format: Format
    places: Mapping[str, tuple[Weights, str]]
    left: tuple[str, ...]
    said: Mapping[str, Said]
    needs: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    action_dim: int | None = None
    epoch: int | None = None
    global_step: int | None = None
    notes: tuple[str, ...] = ()
    anatomy: Anatomy = ELSEWHERE

    def read(self, name: str) -> Tensor:
        """By our plain name; perhaps a view of the file."""
        weights, foreign = self.places[name]
        return weights.read(foreign)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: weights.specs[foreign].shape for name, (weights, foreign) in self.places.items()}

    def of_part(self, *parts: str) -> list[str]:
        """Our names of these parts (`parts.PARTS`) that the file holds."""
        return [name for name in self.places if self.find_part(name) in parts]

    def find_part(self, name: str) -> str:
        """The part that our name is of."""
        return find_part(name, name, self.anatomy)


def open_foreign(path: Path, trust: bool = False) -> Foreign:
    """`UserError` for what is no policy, cannot be read without being run, or holds one parameter with two values."""
    if (path / HEAD).is_file():
        return _open_export(path)
    if (path / "config.yaml").is_file() and (path / "checkpoints").is_dir():
        raise UserError(
            "is a run already: eval, probe, doctor, train and export take its folder as run",
            argument="path",
            value=path,
        )
    opened = open_checkpoint(path, trust)
    form = recognise(opened)
    if form.convert is not None or form.name == "unknown":
        remedy = f"convert it first: {form.convert}" if form.convert else "expected one of the formats of the README"
        raise UserError(f"holds {form.what}; {remedy}", argument="path", value=path)
    places, left = _place(opened, form)
    found, notes = read_settings(opened.beside)
    said = {name: Said(value=value, where="its hyperparameters") for name, value in found.items()}
    known: Mapping[str, Any] = {}
    bounds, needs, anatomy = None, {}, ELSEWHERE
    if form.keys is OURS:
        known = opened.beside["mobile_vla"]
        said, needs = _said_by_us(known)
        anatomy = ModelConfig.choose(known["config"]["model"]).anatomy
    elif form.name == "peft":
        said |= _said_by_peft(opened)
        needs = {"model.weights": "the folder of the base that these adapters were trained on"}
    elif form.name == "transformers" and path.is_dir():
        said["model.weights"] = Said(value=str(path), where="the folder itself")
    elif form.keys is LAB and any(find_part(name, name) in ("lora", "action_head", "action_token") for name in places):
        needs = {
            "model.layout": "robovlms, kosmos2 or legacy: what its backbone was shown",
            "model.preprocessing": "clip, or unit (images in [0, 1], the lab's until 2026-02)",
        }
        if "head.rnn.weight_hh_l0" in places:
            needs["data.components"] = "which velocities its head predicts, in order, as [linear_x,linear_y]"
            bounds = CLIPPED
    shapes = {name: weights.specs[foreign].shape for name, (weights, foreign) in places.items()}
    by_shapes = _said_by_shapes(shapes, anatomy)
    if HEAD_NAME in said:  # a file that says which head it has says all of it
        by_shapes = {name: one for name, one in by_shapes.items() if not name.startswith("model.head.")}
    said = {**by_shapes, **said}
    if infer_adapters(shapes, anatomy) is not None:
        needs["model.lora.alpha"] = "by what the adapters' update is scaled (alpha / r); shapes do not tell it"
    return Foreign(
        path=path,
        format=form,
        places=places,
        left=left,
        said=said,
        needs={name: why for name, why in needs.items() if name not in said},
        bounds=bounds,
        known=known,
        action_dim=read_action_dim(opened.beside),
        epoch=opened.epoch,
        global_step=opened.global_step,
        notes=(*opened.notes, *notes),
        anatomy=anatomy,
    )


def _place(opened: Opened, form: Format) -> tuple[dict[str, tuple[Weights, str]], tuple[str, ...]]:
    parts = take_apart(opened.weights, form.keys)
    if parts.differ:
        one, other = parts.differ[0]
        raise UserError(
            f"{opened.path} holds {len(parts.differ)} parameters twice with different values ({one} and {other}): "
            "which of them was used cannot be told"
        )
    places, left = {}, []
    for foreign in parts.first:
        own = parts.own[foreign]
        if own is None or own == LM_HEAD:
            left.append(foreign)
        else:
            places[own] = (opened.weights, foreign)
    strangers = [name for name in left if parts.of[name] == "lora"]
    if strangers:
        raise UserError(
            f"{opened.path}: {len(strangers)} adapter weights are of no layer that can be adapted here (first: "
            f"{strangers[0]}); merge them into the weights first (peft: merge_and_unload)"
        )
    return places, tuple(left)


def _said_by_shapes(shapes: Mapping[str, tuple[int, ...]], anatomy: Anatomy) -> dict[str, Said]:
    found: dict[str, Any] = {}
    adapters, head = infer_adapters(shapes, anatomy), infer_head(shapes)
    if adapters is not None:
        layers = adapters.layers if isinstance(adapters.layers, str) else list(adapters.layers)
        found |= {"preset": adapters.preset, "r": adapters.r, "layers": layers, "dora": adapters.dora}
        found = {f"model.lora.{name}": value for name, value in found.items()}
    if head is not None:
        found |= {"model.head.name": head[0].name, "model.head.hidden": head[0].hidden}
        found |= {"model.head.layers": head[0].layers, "model.head.mlp": list(head[0].mlp)}
    said = {name: Said(value=value, where="the shapes of its weights") for name, value in found.items()}
    if "backbone.action_token" in shapes:  # one that is not trained is made anew, and another one
        said["model.lora.action_token"] = Said(value=True, where="it holds one")
    return said


def _said_by_peft(opened: Opened) -> dict[str, Said]:
    """`adapter_config.json`; `UserError` for what makes these adapters other than ours would be."""
    config = opened.config
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise UserError(f"{opened.path}: adapters of kind {kind}; expected LORA (merge them first: merge_and_unload)")
    for name in ("rank_pattern", "alpha_pattern"):
        if config.get(name):
            raise UserError(
                f"{opened.path}: {name} gives layers different adapters, which is not known here; merge them into the "
                "weights first (peft: merge_and_unload)"
            )
    words = {"alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora", "dora": "use_dora"}
    return {
        f"model.lora.{ours}": Said(value=config[theirs], where="adapter_config.json")
        for ours, theirs in words.items()
        if isinstance(config.get(theirs), bool | int | float)
    }


def _said_by_us(known: Mapping[str, Any]) -> tuple[dict[str, Said], dict[str, str]]:
    """All settings of the model, and what its actions are. A folder that the file names is never opened."""
    try:
        model, data, actions = known["config"]["model"], known["config"]["data"], known["actions"]
        values = {f"model.{name}": model[name] for name in model if name not in NOT_READING}
        values["model.name"] = model.get("name", BACKBONES.default)
        values |= {f"model.lora.{name}": value for name, value in model["lora"].items()}
        values |= _said_of_head(model["head"])
        values |= {f"data.{name}": data[name] for name in ("window", "chunk")}
        values |= _said_of_actions(actions)
        weights = str(model["weights"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint's own configuration lacks {error}: expected that of a training") from error
    needs = {}
    if weights == RANDOM:
        values |= {"model.weights": RANDOM, "model.architecture": model["architecture"]}
    elif _is_on_the_hub(weights):
        values["model.weights"] = weights
    else:
        needs["model.weights"] = f"the folder of its base, which was at {weights}"
    return {name: Said(value=value, where="its own configuration") for name, value in values.items()}, needs


def _said_of_head(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {HEAD_NAME: HEADS.default, **{f"model.head.{name}": value for name, value in settings.items()}}


def _said_of_actions(actions: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    bounds = zip(actions["components"], actions["low"], actions["high"], strict=True)
    return {
        "data.components": list(actions["components"]),
        "data.bounds": {name: [low, high] for name, low, high in bounds},
    }


def _is_on_the_hub(weights: str) -> bool:
    """And not by accident a folder here, which a file may not name."""
    return weights.count("/") == 1 and not weights.startswith((".", "/", "~")) and not Path(weights).exists()


def _name_in_the_head(name: str) -> str:
    return f"backbone.{TOKEN}" if name == TOKEN else f"head.{name}"


def _open_export(folder: Path) -> Foreign:
    """As `portable` writes it; `base/` is the only folder that is looked into."""
    try:
        about = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA:
            raise UserError(f"{folder / HEAD}: schema {about['schema']} is not known, expected {SCHEMA}")
        head, base, lora = about["head"], about["base"], about["lora"]
        values = {
            **{f"model.{name}": value for name, value in _backbone_of(about).items()},
            "data.window": head["window"],
            "data.chunk": head["chunk"],
            **_said_of_head(head["settings"] if "settings" in head else {name: head[name] for name in LSTM_SETTINGS}),
            **{f"model.lora.{name}": value for name, value in lora.items()},
            **_said_of_actions(about["actions"]),
        }
        anatomy = ModelConfig.choose({"name": values["model.name"]}).anatomy
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / HEAD} is not what an export of this package writes: {error!r}") from error
    places: dict[str, tuple[Weights, str]] = {}
    files: list[tuple[str, Callable[[str], str | None]]] = [(HEAD_WEIGHTS, _name_in_the_head)]
    if about["adapters"]:
        adapters = open_checkpoint(folder / ADAPTER_WEIGHTS)
        places |= _place(adapters, Format(name="peft", what="adapters of an export", keys=EXPORTED_ADAPTER))[0]
    needs = {}
    if lora.get("preset") == "full":
        files.append((f"{BASE}/model.safetensors", EXPORTED_BASE.translate))
    if base["folder"] is not None:
        values["model.weights"] = str(folder / BASE)
        values.pop("model.architecture", None)
    elif base["weights"] == RANDOM:
        values["model.weights"] = RANDOM
    elif _is_on_the_hub(str(base["weights"])):
        values["model.weights"] = base["weights"]
    else:
        needs["model.weights"] = f"the folder of its base, which was at {base['weights']}"
    for file, translate in files:
        weights = open_checkpoint(folder / file).weights
        places |= {own: (weights, name) for name in weights.specs if (own := translate(name)) is not None}
    return Foreign(
        path=folder,
        format=Format(name="mobile_vla", what="an export of this package", keys=OURS),
        places={plain_name(own): place for own, place in places.items()},
        left=(),
        said={name: Said(value=value, where=HEAD) for name, value in values.items()},
        needs=needs,
        known={"base_fingerprint": base["fingerprint"], "preprocessing": about["preprocessing"], "head": head},
        epoch=about["run"]["epoch"],
        global_step=about["run"]["step"],
        anatomy=anatomy,
    )


def _backbone_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the backbone, as an export has them; exports that are older than the choice are of Kosmos-2."""
    sequence = about["sequence"]
    old = {"name": BACKBONES.default, "layout": sequence["layout"], "prompt": sequence["prompt"]}
    return about.get("backbone", old)
