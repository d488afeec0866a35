"""The model card of an exported policy: what it is, how to load it, what it was trained on, what it is worth.

In: what `head.json` says, and lines about data and numbers. Out: the text of `README.md`. Its code is made for this
policy's layout and preprocessing and needs torch, transformers, peft and safetensors alone, where the backbone is
transformers' own and its head one that fits into a few lines; else it needs this package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

CARD, CODE = "card.md.j2", "card_code.py.j2"
OWN_CODE = """import mobile_vla as mv

policy = mv.load(".")  # the modules of its backbone and its head must be importable
drive = policy.start("go left")  # then chunk = drive.act(frame), with every frame of an episode"""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Numbers of these weights: over what, by name, and what must not be overlooked."""

    over: str
    rows: Sequence[tuple[str, str]]
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What only the run knows. Licences are None where nobody stated them.

    backbone      what it is, such as `Kosmos-2`
    transformers  its class there, and code that makes image tokens (1, L, D) of `pixels` with `model`, if it has one
    """

    title: str
    backbone: str
    transformers: tuple[str, str] | None
    data: Sequence[str]
    metrics: Metrics | None
    license: str | None
    data_license: str | None


def render_card(about: Mapping[str, Any], facts: CardFacts) -> str:
    """Markdown; `about` is what `head.json` holds."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    model_class, image_code = facts.transformers or ("", "")
    words = {**_words(about), "model_class": model_class, "image_code": image_code}
    code = environment.get_template(CODE).render({**about, **words}).strip()
    portable = facts.transformers is not None and bool(about["head"]["code"])
    kind = f"{facts.backbone} with LoRA adapters" if about["adapters"] else facts.backbone
    values = {
        **about,
        "code": code if portable else OWN_CODE,
        "needs": "torch, transformers, peft and safetensors" if portable else "mobile_vla",
        "portable": portable,
        "backbone": kind,
        "title": facts.title,
        "data": facts.data,
        "metrics": facts.metrics,
        "license": facts.license,
        "data_license": facts.data_license,
    }
    return environment.get_template(CARD).render(values)


def _words(about: Mapping[str, Any]) -> dict[str, str]:
    """Pieces of the code: which folder or name is the base, which special tokens stand where."""
    base, sequence = about["base"], about["sequence"]

    def quoted(tokens: Sequence[str]) -> str:
        return ", ".join(f'"{token}"' for token in tokens)

    behind = quoted(sequence["behind_image"])
    return {
        "where": f'f"{{folder}}/{base["folder"]}"' if base["folder"] else f'"{base["weights"]}"',
        "before": quoted(sequence["before_image"]),
        "behind": f"special({behind}), " if behind else "",
        "end": quoted(sequence["behind_action"]),
    }
