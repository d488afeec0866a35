"""Whole comparisons of stores, through the door that `mobile-vla compare` uses; read by their json form alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_vla.analysis.study import Asked, Study, make_study
from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store
from validation.strip import RIGOUR, rigour_of


def study(stores: Mapping[str, Store], seed: int, targets: Sequence[str] = (), rigour: Rigour = RIGOUR) -> Study:
    subjects = [Subject(name=name, store=store) for name, store in stores.items()]
    asked = Asked(targets=tuple(targets), rigour=rigour_of(seed, rigour))
    return make_study(subjects, asked, None, lambda what, done, total: None)


def list_differences(found: Study) -> list[tuple[str, Mapping[str, Any]]]:
    """(target, difference as json) of every pair of stores."""
    plain = [pairing.to_plain().get("decoding_difference") for pairing in found.pairings]
    return [(target, one) for pair in plain if pair for target, one in pair["parts"].items()]


def find_better(found: Study) -> list[tuple[str, Mapping[str, Any]]]:
    """Those in which one of the two stores is called better, exploratory ones left out."""
    return [
        (target, one)
        for target, one in list_differences(found)
        if str(one["verdict"]).endswith("better") and not one.get("exploratory", False)
    ]


def find_chunk(found: Study) -> Mapping[str, Any] | None:
    """The difference of the next action chunk of the first pair, where it was measured."""
    parts = [one for target, one in list_differences(found) if "chunk" in target]
    return parts[0] if parts and parts[0]["p"] is not None and math.isfinite(parts[0]["p"]) else None
