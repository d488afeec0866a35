"""Plain values to frozen dataclasses: what YAML and the command line composed, checked against Python's types.

In: a stdlib dataclass (its fields may be dataclasses) and a plain dict. Out: an instance, or a UserError for the
first wrong value: its dotted key, what was expected, what came.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from mobile_vla.core.errors import UserError
from mobile_vla.core.members import Chosen
from mobile_vla.core.nearest import suggest

T = TypeVar("T")

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "settings by name",
    "dataclass": "settings by name",
    "path": "a path",
    "none": "null",
}


def build(kind: type[T], values: Mapping[str, Any], key: str = "") -> T:
    """An instance of the dataclass `kind`. `key` is where the values stand in the configuration ("" for the top).

    Numbers are strict ('3', 3.5 and true are no whole numbers), lists become tuples, unknown keys are errors, and
    an error raised by `__post_init__` is the message: the argument that a `UserError` names gets its place before it.
    """
    from pydantic import TypeAdapter, ValidationError

    kind = cast(type[T], kind.choose(values)) if issubclass(kind, Chosen) else kind
    _refuse_unknown(kind, values, key)
    # JSON is where pydantic's strict mode still takes lists for tuples and whole numbers for floats.
    text = json.dumps(values, default=_encode)
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False), values, key) from error


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a setting cannot hold {type(value).__name__}: {value!r}")


def _refuse_unknown(kind: Any, values: Any, key: str) -> None:
    for known, part, where in _find_dataclasses(kind, values, key):
        hints = get_type_hints(known)
        names = [field.name for field in fields(known) if field.init]
        for name, value in part.items():
            dotted = f"{where}.{name}" if where else str(name)
            if name not in names:
                right = [f"{where}.{other}" if where else other for other in names]
                listed = f" (there are {', '.join(names)})" if names else ""
                raise UserError(f"unknown setting '{dotted}'{suggest(dotted, right)}{listed}")
            _refuse_unknown(hints[name], value, dotted)


def _find_dataclasses(kind: Any, values: Any, key: str) -> Iterator[tuple[Any, Mapping[str, Any], str]]:
    """The mappings at or right below `values` that a dataclass will be made of."""
    if isinstance(kind, type) and is_dataclass(kind):
        if isinstance(values, Mapping):
            yield kind.choose(values) if issubclass(kind, Chosen) else kind, values, key
        return
    origin, inner = get_origin(kind), [part for part in get_args(kind) if part is not ...]
    if origin in (list, tuple) and isinstance(values, list | tuple):
        for index, value in enumerate(values):
            part = inner[min(index, len(inner) - 1)] if inner else Any
            yield from _find_dataclasses(part, value, f"{key}.{index}")
    elif origin is dict and isinstance(values, Mapping) and len(inner) == 2:
        for name, value in values.items():
            yield from _find_dataclasses(inner[1], value, f"{key}.{name}" if key else str(name))
    elif origin in (Union, UnionType):
        members = [part for part in inner if part is not NoneType]
        if isinstance(values, Mapping) and len(members) > 1:
            members = [part for part in members if is_dataclass(part)]
        if len(members) == 1:  # with several, pydantic says what fits none of them
            yield from _find_dataclasses(members[0], values, key)


def _explain(errors: list[Any], values: Mapping[str, Any], prefix: str) -> UserError:
    first = errors[0]
    cause = first.get("ctx", {}).get("error")
    place, given = _locate(first["loc"], values)
    dotted = ".".join([*([prefix] if prefix else []), *map(str, place)])
    if isinstance(cause, UserError):  # raised by __post_init__, which knows best
        return cause.within(dotted)
    if isinstance(cause, ValueError):
        return UserError(str(cause))
    if first["type"] in ("missing", "missing_keyword_only_argument", "missing_argument"):
        name = ".".join([*([dotted] if dotted else []), str(first["loc"][-1])])
        if isinstance(given, list):
            return UserError(f"{dotted}: expected {first['loc'][-1] + 1} values, got {_show(given)}")
        return UserError(f"missing setting '{name}': give {name}=<value>")
    same = [error for error in errors if _locate(error["loc"], values)[0] == place]
    expected = list(dict.fromkeys(_expect(error) for error in same))
    return UserError(f"{dotted}: expected {' or '.join(expected)}, got {_show(given)}{_suggest(same, given)}")


def _locate(loc: tuple[Any, ...], values: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of pydantic's location that is keys of the configuration (it adds the members of unions)."""
    place: list[Any] = []
    for part in loc:
        if (isinstance(values, Mapping) and part in values) or (
            isinstance(values, list | tuple) and isinstance(part, int) and part < len(values)
        ):
            values = values[part]
        else:
            continue
        place.append(part)
    return tuple(place), values


def _expect(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return f"one of {context['expected'].replace(' or ', ', ')}"
    if kind in ("too_short", "too_long"):
        return f"{context.get('min_length', context.get('max_length'))} values"
    word = kind.partition("_")[0]
    if kind.endswith(("_type", "_parsing", "_from_float")) and word in EXPECTED:
        return EXPECTED[word]
    return error["msg"][:1].lower() + error["msg"][1:]


def _suggest(errors: list[Any], given: Any) -> str:
    words = [word for error in errors for word in _quoted(error.get("ctx", {}).get("expected", ""))]
    return suggest(given, words) if isinstance(given, str) else ""


def _quoted(text: str) -> list[str]:
    return [part for index, part in enumerate(text.split("'")) if index % 2]


def _show(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
