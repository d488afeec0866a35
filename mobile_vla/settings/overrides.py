"""Every `key=value` is checked before Hydra composes, so that a mistake is told in the project's own words.

In: the arguments of one job as typed (outside a sweep with literal values already quoted) and the command's
composition. Out: nothing, or a UserError with the nearest right key, the options of the group, the keys of the
mapping.
"""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import find_nearest, suggest
from mobile_vla.settings.composition import Composition
from mobile_vla.settings.literal import quote_where_needed
from mobile_vla.settings.tree import Tree, find_node, is_in_table, is_table, list_keys, list_missing, make_tree

_KEY = re.compile(r"(?P<prefix>~|\+{0,2})(?P<key>[^=\s~+@][^=@]*)(?:@[^=]*)?")


def check_form(argument: str) -> None:
    """A UserError where the argument is not `key=value` (or `~key`)."""
    key, equals, _ = argument.partition("=")
    match = _KEY.fullmatch(key)
    if match is None or (not equals and match["prefix"] != "~"):
        raise UserError(f"'{argument}' is not a setting: expected key=value, for instance seed=3")


def quote_literal(argument: str) -> str:
    """The override, its value quoted where it stands for itself."""
    key, equals, value = argument.partition("=")
    return f"{key}={quote_where_needed(value)}" if equals else key


class OverrideCheck:
    """Checks the overrides of jobs of one command; remembers what each choice of groups composes to."""

    def __init__(self, composition: Composition, words: Sequence[str] = ()):
        """`words` are settings that the command line itself reads; a misspelled one gets the right one too."""
        self.composition = composition
        self.words = tuple(words)
        self._composed: dict[tuple[str, ...], Tree] = {}

    def check(self, overrides: Sequence[str]) -> None:
        """A UserError for the first of one job's overrides that has no place in its configuration."""
        parsed, composed = self._read(overrides)
        for override in parsed:
            if not self._chooses(override):
                self._check_setting(override, composed)
        self._check_missing(parsed, composed)

    def add_to_tables(self, overrides: Sequence[str], job: Sequence[str]) -> list[str]:
        """The overrides, those that fill an empty mapping marked so that Hydra lets them.

        A mapping that is empty in the files (`table: {}`) is a table whose keys are the user's. `job` are the
        overrides of one job, whose groups say which mappings there are.
        """
        composed = self._read(job)[1]
        opened = []
        for text in overrides:
            key, _, value = text.partition("=")
            fills = is_in_table(composed, key) or (value.lstrip().startswith("{") and is_table(composed, key))
            opened.append(f"++{text}" if fills else text)
        return opened

    def _read(self, overrides: Sequence[str]) -> tuple[list[Override], Tree]:
        """The overrides in Hydra's grammar, and what their choices of groups compose to."""
        for argument in overrides:  # the form of keys first: the parser below blames the value
            self._check_key_form(argument)
        parsed = self.composition.parse(overrides)
        choices = [override for override in parsed if self._chooses(override)]
        for override in choices:
            self._check_choice(override)
        return parsed, self._compose(tuple(str(override.input_line) for override in choices))

    def _chooses(self, override: Override) -> bool:
        return self.composition.is_group(override.key_or_group) and not isinstance(override.value(), dict)

    def _check_key_form(self, argument: str) -> None:
        match = _KEY.match(argument)
        if match is not None and re.fullmatch(r"[\w$][\w$-]*(\.[\w$-]+)*|\w[\w-]*(/\w[\w-]*)+", match["key"], re.A):
            return
        key = match["key"] if match else argument
        raise UserError(f"unknown setting '{key}'{self._suggest(key, self._compose(()))}")

    def _compose(self, choices: tuple[str, ...]) -> Tree:
        """What these choices of groups compose to, before any single setting; mandatory settings may be missing."""
        if choices not in self._composed:
            try:
                self._composed[choices] = make_tree(self.composition.compose(list(choices)))
            except UserError as error:
                raise self._explain_choice(error) from error
        return self._composed[choices]

    def _explain_choice(self, error: UserError) -> UserError:
        must = re.search(r"You must specify '([^']+)'", str(error))
        if must:
            options = self.composition.list_options(must[1].partition("@")[0])
            return UserError(f"missing choice of '{must[1]}': give {must[1]}=<one of {', '.join(options)}>")
        unused = re.search(r"Could not (?:override|delete) '([^'=]+)[^']*'\.", str(error))
        if unused:
            known = self._list_choices(make_tree(self.composition.compose([], RunMode.MULTIRUN)))
            listed = f" (it has {', '.join(known)})" if known else " (it has none)"
            return UserError(f"'{unused[1]}' is no group of this command{suggest(unused[1], known)}{listed}")
        return error

    def _list_choices(self, composed: Tree) -> list[str]:
        choices = composed["hydra"]["runtime"]["choices"]
        return sorted(key for key in choices if not key.startswith("hydra/"))

    def _check_choice(self, override: Override) -> None:
        group = override.key_or_group
        if self.composition.is_saved and not override.is_hydra_override():
            raise self._refuse_group(group)
        value = override.value()
        if value is None or override.is_delete():
            return
        options = self.composition.list_options(group)
        for option in value if isinstance(value, list) else [value]:
            if self.composition.has_config(f"{group}/{option}"):
                continue
            sweep = f"; to sweep over '{option}', add --multirun" if "," in str(option) else ""
            raise UserError(
                f"unknown option '{option}' of '{group}'{suggest(str(option), options)} "
                f"(there are {', '.join(options)}){sweep}"
            )

    def _refuse_group(self, group: str) -> UserError:
        dotted = group.replace("/", ".")
        node = find_node(self._compose(()), dotted)[1]
        keys = [*node] if isinstance(node, dict) else []
        form = f"{dotted}.{keys[0]}=..." if keys else f"{dotted}.<setting>=..."
        listed = f" ('{dotted}' has {', '.join(keys)})" if keys else ""
        return UserError(
            f"'{group}' is a group, and a saved configuration takes single settings only: write {form}{listed}"
        )

    def _check_setting(self, override: Override, composed: Tree) -> None:
        key = override.key_or_group
        if override.is_add() or override.is_force_add():
            if "/" in key:
                raise self._unknown(key, composed)
            return
        if "/" in key:
            if self.composition.is_saved:
                raise self._refuse_group(key)
            raise self._unknown(key, composed)
        self._check_place(key, override, override.value(), composed)

    def _check_place(self, key: str, override: Override, value: Any, composed: Tree) -> None:
        found, node = find_node(composed, key)
        if is_in_table(composed, key) or (is_table(composed, key) and isinstance(value, dict)):
            return
        if not found:
            raise self._unknown(key, composed)
        if override.is_delete():
            return
        if isinstance(value, dict) and isinstance(node, dict):
            for name, part in value.items():
                self._check_place(f"{key}.{name}", override, part, composed)
        elif isinstance(node, dict) and value is not None:
            group = key.replace(".", "/")
            if self.composition.is_group(group) and not self.composition.is_saved:
                options = ", ".join(self.composition.list_options(group))
                raise UserError(
                    f"'{key}' holds several settings: to choose one of its options, write {group}={value} "
                    f"(there are {options})"
                )
            raise UserError(f"'{key}' holds several settings, not one value: it has {', '.join(node)}")
        elif isinstance(value, str) and isinstance(node, int | float) and override.input_line is not None:
            self._check_sweep(key, override.input_line, value, node)

    def _check_sweep(self, key: str, line: str, value: str, default: object) -> None:
        # A number is never meant as text with commas or as a call: `seed=1,2` is a sweep without its flag.
        typed_as_text = line.partition("=")[2][:1] not in ("'", '"')
        if not typed_as_text and re.fullmatch(r"[^,]+(,[^,]+)+|(range|choice|interval|glob)\(.*\)", value):
            raise UserError(f"{key}={value}: expected one value like {default}; to sweep over several, add --multirun")

    def _unknown(self, key: str, composed: Tree) -> UserError:
        return UserError(f"unknown setting '{key}'{self._suggest(key, composed)}")

    def _suggest(self, key: str, composed: Tree) -> str:
        group = key.replace(".", "/")
        if "." in key and self.composition.is_group(group) and not self.composition.is_saved:
            return f": did you mean the group '{group}' (one of {', '.join(self.composition.list_options(group))})?"
        known = [name for name, _ in list_keys(composed, hydra=key.startswith("hydra"))]
        if not self.composition.is_saved:
            known += self._list_choices(composed)
        parent = key
        nearest = find_nearest(key, [*known, *self.words])
        if nearest:
            return f": did you mean '{nearest}'?"
        while "." in parent:  # the settings beside it, where its mapping exists
            parent = parent.rpartition(".")[0]
            found, node = find_node(composed, parent)
            if found and isinstance(node, dict) and len(node) == 0:
                return ": names are made of letters (a to z), digits, '_' and '-'"
            if found and isinstance(node, dict):
                return f": '{parent}' has {', '.join(node)}"
        return f": there are {', '.join(name for name in composed if name != 'hydra')}"

    def _check_missing(self, parsed: Sequence[Override], composed: Tree) -> None:
        given = [override.key_or_group for override in parsed]
        for key in list_missing(composed):
            if not any(key == name or key.startswith(f"{name}.") for name in given):
                raise UserError(f"missing setting '{key}': give {key}=<value>")
