"""Hydra, opened on one command: composing its configuration, with errors that are one line each.

In: the folder of configuration files, the primary configuration's name, overrides. Out: OmegaConf configurations,
which go no further than this package. Nothing is written, no directory is changed, no logging is set up.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.core.errors import UserError
from mobile_vla.settings.literal import quote

SAVED = "__saved__"  # the primary configuration's name where a run's saved configuration stands in for the groups


class UsersFolder(SearchPathPlugin):
    """The folder of `--config-dir`, which is searched too."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            anchor = SearchPathQuery(provider="schema")
            search_path.prepend(provider="command-line", path=f"file://{self.folder}", anchor=anchor)


class Composition:
    """One command's configuration files. A context manager: Hydra's global state lives as long as the block."""

    def __init__(self, conf: Path, name: str, extra: Path | None = None):
        """extra: a folder of the user's with further configuration files"""
        self.name = name
        Plugins.instance().register(UsersFolder)
        UsersFolder.folder = extra
        self._hydra = initialize_config_dir(str(conf), job_name=name, version_base="1.3")
        self.loader = GlobalHydra.instance().config_loader()
        if not self.has_config(name):
            folders = [one.path for one in self.loader.get_sources() if one.provider in ("command-line", "main")]
            self.close()
            raise UserError(f"no configuration '{name}.yaml' in {' or '.join(folders)}")

    def __enter__(self) -> "Composition":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._hydra.__exit__(None, None, None)
        UsersFolder.folder = None

    def has_config(self, path: str) -> bool:
        """True where `<path>.yaml` exists."""
        group, _, name = path.rpartition("/")
        return name in self.loader.get_group_options(group)

    def is_group(self, key: str) -> bool:
        """True where the key names a folder of options."""
        return bool(key) and bool(self.loader.get_group_options(key, results_filter=None))

    def list_options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted(self.loader.get_group_options(group, ObjectType.CONFIG))

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
        parser = OverridesParser.create(config_loader=self.loader)
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
            return self.loader.load_configuration(self.name, overrides, mode)
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
    return " ".join(filter(None, _tell(error)))


def _tell(error: BaseException) -> Iterator[str]:
    for line in str(error).splitlines():
        if line.lstrip().startswith(("See https", "Config search path", "full_key", "object_type", "Search path")):
            return
        yield line.strip()
