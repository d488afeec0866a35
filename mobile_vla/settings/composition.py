"""Hydra, opened on one command: composing its configuration, with errors that are one line each.

In: the folder of configuration files, the primary configuration's name, overrides. Out: OmegaConf configurations,
which go no further than this package. Nothing is written, no directory is changed, no logging is set up.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.core.errors import UserError
from mobile_vla.settings.literal import quote

SAVED = "__saved__"  # the primary configuration's name where a run's saved configuration stands in for the groups


class Composition:
    """One command's configuration files. A context manager: Hydra's global state lives as long as the block."""

    def __init__(self, conf: Path, name: str, extra: Path | None = None):
        """`extra` is a folder that is searched before `conf` (`--config-dir`)."""
        self.name = name
        version.setbase("1.3")
        search = create_config_search_path(str(conf))
        if extra is not None:
            search.prepend(provider="command-line", path=f"file://{extra}", anchor=SearchPathQuery(provider="schema"))
        self.hydra = Hydra.create_main_hydra2(task_name=name, config_search_path=search)
        if not self.has_config(name):
            GlobalHydra.instance().clear()
            raise UserError(f"no configuration '{name}.yaml' in {' or '.join(self.folders())}")

    def __enter__(self) -> "Composition":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        GlobalHydra.instance().clear()

    def folders(self) -> list[str]:
        """Where configuration files are searched, Hydra's own aside."""
        sources = self.hydra.config_loader.get_sources()
        return [source.path for source in sources if source.provider in ("command-line", "main")]

    def has_config(self, path: str) -> bool:
        """True where `<path>.yaml` exists."""
        return self.hydra.config_loader.repository.config_exists(path)  # type: ignore[attr-defined]

    def is_group(self, key: str) -> bool:
        """True where the key names a folder of options."""
        return bool(key) and self.hydra.config_loader.repository.group_exists(key)  # type: ignore[attr-defined]

    def list_options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted(self.hydra.config_loader.get_group_options(group, ObjectType.CONFIG))

    def list_groups(self) -> list[str]:
        """Every group that has options, Hydra's own aside."""
        groups = self.hydra.list_all_config_groups()
        return [group for group in groups if group != "hydra" and not group.startswith("hydra/")]

    def use_saved(self, values: dict[str, Any], fill_groups: bool) -> None:
        """Put a saved configuration in the place of the primary one.

        Top-level settings that it does not hold come from the command's own file: a training's configuration says
        nothing about how to evaluate it. With `fill_groups`, whole groups do too; without, for the command that
        saved it, a group that is not there had been switched off.
        """
        composed = self.compose([], RunMode.MULTIRUN)
        own = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(own, dict)
        left = {"hydra"}
        if not fill_groups:
            left |= {str(group).split("/")[0] for group in composed.hydra.runtime.choices}
        defaults = {str(key): value for key, value in own.items() if key not in left}
        # The store, not a search path: a file's name and folder may hold what Hydra's paths cannot.
        ConfigStore.instance().store(name=SAVED, node={**defaults, **values})
        self.name = SAVED

    @property
    def is_saved(self) -> bool:
        """True where the primary configuration is a saved one, which has no groups."""
        return self.name == SAVED

    def parse(self, overrides: Iterable[str]) -> list[Override]:
        """The overrides in Hydra's grammar; a UserError names the one that is not in it."""
        parser = OverridesParser.create(config_loader=self.hydra.config_loader)
        parsed = []
        for override in overrides:
            try:
                parsed += parser.parse_overrides([override])
            except HydraException as error:
                key, _, value = override.partition("=")
                raise UserError(
                    f"cannot read '{override}' in a sweep: to take the value as it is, write "
                    f'"{key}={quote(value)}" ({_first_line(error)})'
                ) from error
        return parsed

    def compose(self, overrides: list[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The composed configuration, Hydra's own node included; what Hydra refuses is a UserError."""
        try:
            return self.hydra.compose_config(self.name, overrides, run_mode=mode)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise explain(error) from error

    def run(self, task: Callable[[DictConfig], Any], overrides: list[str]) -> Any:
        """What the task returns for the composed configuration; what Hydra refuses is a UserError, as in `compose`.

        The task raises nothing (see `Task`): whatever is raised here comes from composing.
        """
        try:
            return self.hydra.run(self.name, task, overrides).return_value
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise explain(error) from error


def explain(error: Exception) -> UserError:
    """The UserError for an exception of Hydra's or OmegaConf's: the lines that say something, in one."""
    if isinstance(error, UserError):
        return error
    cause = error.__cause__
    lines = [_first_line(error)] if cause is None else [_first_line(error), _first_line(cause)]
    return UserError("the configuration cannot be composed: " + "; ".join(filter(None, lines)))


def _first_line(error: BaseException) -> str:
    lines = []
    for line in str(error).splitlines():
        if line.lstrip().startswith(("See https", "Config search path", "full_key", "object_type", "Search path")):
            break
        lines.append(line.strip())
    return " ".join(filter(None, lines))
