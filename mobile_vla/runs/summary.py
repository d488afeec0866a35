"""What a run's folder says of the run, in one row: what it is, how far it came, what it is worth.

In: the folder, and the evaluations and probes of it. Out: a `RunSummary`. Reads json, yaml and the end of
`metrics.csv`, never a checkpoint, and imports neither torch nor Lightning: hundreds of runs are read in seconds. A
damaged folder has a summary as well: what can be read of it, and its problems in words.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from mobile_vla.core.errors import UserError
from mobile_vla.core.levels import DESCRIPTIONS
from mobile_vla.core.locking import find_holder
from mobile_vla.runs.epoch_folders import BEFORE, FOLDER, list_epochs
from mobile_vla.runs.lock import NAME as LOCK
from mobile_vla.runs.metrics_end import read_end
from mobile_vla.runs.search import CONFIG, Found
from mobile_vla.runs.settings import list_settings

State = Literal["training", "interrupted", "ended", "imported", "broken"]
T = TypeVar("T")
TRAIN_SCHEMA, SPLIT_SCHEMA, IMPORT_SCHEMA = 1, 2, 1
DATE = "%Y-%m-%dT%H:%M:%S%z"  # in `machine.json`
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other one takes 20 times as long
EFFECTS = ("instruction", "image")
KOSMOS2 = "kosmos2"  # the backbone of runs whose configuration names none


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run; None is what is not known.

    problems      what of the folder is missing, damaged or of an unknown form
    began         when training (or the import) began, in seconds since 1970
    epochs        whole ones; of them `max_epochs` were wanted
    val_loss      of the best checkpoint where training has ended, else of the last validation (`is_last`)
    effects       of instruction and image: ratio, its episodes, or the reason why there is none
    judged_on     a fingerprint of the validation episodes: losses of runs that differ in it are of different questions
    evaluation    the newest: folder, part, loss, episodes
    probes        folders of probes of the run;  stores: complete stores of contexts, its own and theirs
    settings      every setting by its dotted name
    """

    folder: Path
    state: State
    problems: tuple[str, ...] = ()
    began: float = 0.0
    model: str | None = None
    lora: str | None = None
    epochs: int | None = None
    max_epochs: int | None = None
    val_loss: float | None = None
    is_last: bool = False
    baselines: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    episodes: int | None = None
    windows: int | None = None
    judged_on: str | None = None
    parameters: Mapping[str, int] | None = None
    evaluation: Mapping[str, Any] | None = None
    probes: tuple[Path, ...] = ()
    stores: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best_baseline(self) -> str | None:
        known = {name: loss for name, loss in self.baselines.items() if loss is not None}
        return min(known, key=known.__getitem__, default=None)

    @property
    def loss_over_baseline(self) -> float | None:
        """Of the best one; below 1 the policy is better."""
        best = self.best_baseline
        if self.val_loss is None or best is None or self.baselines[best] <= 0:
            return None
        return self.val_loss / self.baselines[best]

    def to_plain(self) -> dict[str, Any]:
        """The fields of a row of `runs.json`."""
        return {
            "folder": self.folder,
            "state": self.state,
            "problems": self.problems,
            "began": datetime.fromtimestamp(self.began).astimezone().isoformat(timespec="seconds"),
            "model": self.model,
            "lora": self.lora,
            "epochs": self.epochs,
            "max_epochs": self.max_epochs,
            "val_loss": self.val_loss,
            "val_loss_of": None if self.val_loss is None else "last validation" if self.is_last else "best checkpoint",
            "baselines": self.baselines,
            "best_baseline": self.best_baseline,
            "loss_over_best_baseline": self.loss_over_baseline,
            **{f"{name}_effect": self.effects.get(name, {}).get("ratio") for name in EFFECTS},
            "effects": self.effects,
            "denominators": {"episodes": self.episodes, "windows": self.windows},
            "validation_episodes": self.judged_on,
            "parameters": self.parameters,
            "stores": self.stores,
            "probes": self.probes,
            "evaluation": self.evaluation,
            "settings": self.settings,
        }


class _Files:
    """The files of one run's folder. What goes wrong is noted once, and answered with what stands for nothing."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.problems: list[str] = []

    def json(self, name: str, schema: int | None, needed: bool = False) -> dict[str, Any]:
        def read(file: Path) -> dict[str, Any]:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("expected fields by name")
            if schema is not None and content.get("schema") != schema:
                raise ValueError(f"schema {content.get('schema')} is not known, expected {schema}")
            return content

        return self.take(name, read, {}, needed)

    def yaml(self, name: str) -> dict[str, Any]:
        def read(file: Path) -> dict[str, Any]:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)
            if not isinstance(content, dict):
                raise ValueError("expected settings by name")
            return content

        return self.take(name, read, {}, needed=True)

    def take(self, name: str, read: Callable[[Path], T], otherwise: T, needed: bool = False) -> T:
        """What `read` makes of the file; `otherwise` where it is not there or makes nothing of it."""
        try:
            return read(self.folder / name)
        except FileNotFoundError:
            if needed:
                self.problems.append(f"{name}: no such file")
        except KeyError as error:
            self.problems.append(f"{name}: no {error}")
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, UserError) as error:
            self.problems.append(f"{name}: {str(error).splitlines()[0]}")
        return otherwise


def read_run(folder: Path, found: Found) -> RunSummary:
    """Whatever the folder holds, or lacks."""
    files = _Files(folder)
    config = files.yaml(CONFIG)
    settings = list_settings(config) if config else {}
    split = files.json("split.json", SPLIT_SCHEMA, needed=True)
    train = files.json("train.json", TRAIN_SCHEMA)
    end = files.take("metrics.csv", read_end, None)
    steps = train.get("steps")
    went_on = end is not None and isinstance(steps, int) and end.step >= steps  # after it had ended: rows count from 0
    imported = "unknown" in split and not train
    told: dict[str, Any] = {}
    if _is_held(folder):
        state: State = "training"
    else:
        state = "imported" if imported else "ended" if train and not went_on else "interrupted"
    if state == "ended":
        told = files.take("train.json", lambda _: _tell_end(train), {})
    elif state == "imported":
        told = {"parameters": files.json("import.json", IMPORT_SCHEMA).get("parameters")}
    elif end is not None:
        counts = {name: end.validation.get(f"val/{name}") for name in ("episodes", "windows")}
        told = {"val_loss": end.val_loss, "is_last": True, "baselines": end.baselines, "epochs": end.epochs}
        told |= {name: None if count is None else int(count) for name, count in counts.items()}
        told["parameters"] = train.get("parameters")
    elif settings.get("logger.csv", True):
        told = {"epochs": 0}
    named = files.take(CONFIG, lambda _: _tell_config(config), {}) if config else {}
    judged_on = files.take("split.json", lambda _: _fingerprint(split), None) if split and not imported else None
    probes = found.of("probe", folder)
    stores = _count_stores(folder, files) + sum((probe / FOLDER).is_dir() for probe, _ in probes)
    began = _find_beginning(files)
    evaluations = found.of("eval", folder)
    return RunSummary(
        folder=folder,
        state="broken" if files.problems and state != "training" else state,
        problems=tuple(dict.fromkeys(files.problems)),
        began=began,
        judged_on=judged_on,
        probes=tuple(probe for probe, _ in probes),
        stores=stores,
        evaluation=_tell_evaluation(*evaluations[-1]) if evaluations else None,
        settings=settings,
        **named,
        **told,
    )


def _is_held(folder: Path) -> bool:
    try:
        return find_holder(folder / LOCK) is not None
    except OSError:  # not ours to lock: nor can a process of ours be training there
        return False


def _tell_end(train: Mapping[str, Any]) -> dict[str, Any]:
    effects = {
        name: {
            **{key: train["effects"][name][key] for key in ("ratio", "ci", "episodes", "reason")},
            "level": train["effects"][name].get("level", DESCRIPTIONS),  # older ones do not say it
        }
        for name in EFFECTS
    }
    return {
        "val_loss": train["val_loss"],
        "baselines": train["baselines"],
        "effects": effects,
        "episodes": train["denominators"]["episodes"],
        "windows": train["denominators"]["windows"],
        "epochs": train["epochs"],
        "parameters": train["parameters"],
    }


def _tell_config(config: Mapping[str, Any]) -> dict[str, Any]:
    model, lora = config["model"], config["model"]["lora"]
    name = Path(model["weights"]).name
    if (backbone := model.get("name", KOSMOS2)) != KOSMOS2:
        name = f"{backbone} {name}"
    text = (model["architecture"] or {}).get("text_config", {})
    for layers, width in (("layers", "embed_dim"), ("num_hidden_layers", "hidden_size")):  # as families name them
        if {layers, width} <= text.keys():
            name += f" {text[layers]} x {text[width]}"
    adapters = str(lora["preset"])
    if adapters not in ("none", "full"):
        adapters += f" r {lora['r']}" + ("" if lora["layers"] == "all" else f" {lora['layers']}")
    return {"model": name, "lora": adapters, "max_epochs": config["trainer"]["max_epochs"]}


def _fingerprint(split: Mapping[str, Any]) -> str:
    episodes = sorted(row["fingerprint"] for row in split["splits"]["validation"])
    return sha256("\n".join(episodes).encode()).hexdigest()[:16]


def _find_beginning(files: _Files) -> float:
    """As `machine.json` says, which a copy keeps; else when the configuration was written."""

    def read(file: Path) -> float:
        return datetime.strptime(json.loads(file.read_text(encoding="utf-8"))["at"], DATE).timestamp()

    config = files.folder / CONFIG
    written = (config if config.exists() else files.folder).stat().st_mtime
    return files.take("machine.json", read, written)


def _count_stores(folder: Path, files: _Files) -> int:
    """Complete ones that training stored."""
    contexts = folder / FOLDER
    if not contexts.is_dir():
        return 0
    from mobile_vla.contexts.manifest import MANIFEST, load_manifest  # numpy and pyarrow

    there = [store for store in (contexts / BEFORE, *list_epochs(contexts).values()) if (store / MANIFEST).is_file()]
    names = [str(store.relative_to(folder)) for store in there]
    return sum(files.take(name, lambda store: load_manifest(store).complete, False) for name in names)


def _tell_evaluation(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "folder": folder,
        "split": told.get("split"),
        "loss": told.get("loss"),
        "episodes": told.get("denominators", {}).get("episodes"),
    }
