"""Places to plug in: settings that are chosen by name, the package's own or ones from anywhere Python imports from.

In: `name` among the settings, for example `model.head.name=mlp`, or `model.head.name=my_robot.heads:GRUConfig`.
Out: the dataclass whose settings the others are. A member is imported when it is chosen.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest

# What settings mean that were saved before there was a choice.
UNNAMED = {"model.name": "kosmos2", "model.head.name": "lstm", "data.source.name": "hdf5"}


def name_members(config: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings in which every member is named, so that earlier and later ones can be compared."""
    named = dict(config)
    for dotted, name in UNNAMED.items():
        part, *inner, last = dotted.split(".")
        if not isinstance(named.get(part), Mapping):
            continue
        place = named[part] = dict(named[part])
        for key in inner:
            place[key] = place = dict(place.get(key) or {})
        place.setdefault(last, name)
    return named


@dataclass(frozen=True, kw_only=True)
class Members:
    """place: where its settings stand, such as `model.head`;  homes: of the package's own, name -> `module:class`

    default  the member that settings without a name mean: those that were saved before there was a choice
    """

    place: str
    homes: Mapping[str, str]
    default: str

    def find(self, name: str, kind: type) -> type:
        """The class of a member, a subclass of `kind`. `UserError` where there is none."""
        home, place = self.homes.get(name, name), f"{self.place}.name"
        module, _, attribute = home.partition(":")
        listed = f"expected one of {', '.join(self.homes)}, or <module>:<class> of your own"
        if not attribute:
            raise UserError(f"no such member{suggest(name, self.homes)}; {listed}", argument=place, value=name)
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            known = f"{error} (PYTHONPATH says where else Python looks); {listed}"
            raise UserError(known, argument=place, value=name) from error
        if not (isinstance(found, type) and issubclass(found, kind)):
            expected = f"a subclass of {kind.__module__}.{kind.__name__}"
            raise UserError(f"expected {expected}", argument=place, value=name)
        return found


class Chosen:
    """Mixed into the dataclass that all members' settings extend; it has a field `name` and says what `members` are."""

    members: ClassVar[Members]

    @classmethod
    def choose(cls, values: Any) -> type:
        """The class that these settings are of: `cls` itself where it is a member's."""
        if "members" not in vars(cls) or not isinstance(values, Mapping):
            return cls
        return cls.members.find(str(values.get("name", cls.members.default)), cls)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Values of the general kind are validated as those of the member that they name."""
        if "members" not in vars(cls):
            return handler(source)
        from pydantic import TypeAdapter
        from pydantic_core import core_schema

        def read(values: Any) -> Any:  # as JSON, where strict mode still takes lists for tuples
            return TypeAdapter(cls.choose(values)).validate_json(json.dumps(values), strict=True)

        return core_schema.no_info_plain_validator_function(read)
