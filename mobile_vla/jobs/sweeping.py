"""Where Hydra calls the task: once, or for every job of a sweep, which its own sweepers and launchers deal out.

In: a composition, overrides that are valid, the task. Out: what the task returned. The only file that needs a class
that Hydra calls private: its sweepers and launchers are handed the user's callbacks in it.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.settings.composition import Composition, explain

Task = Callable[[DictConfig], Any]  # raises nothing: whatever is raised here comes from composing


def run_once(composition: Composition, task: Task, overrides: list[str]) -> Any:
    """What the task returns for the composed configuration; what Hydra refuses is a UserError."""
    config = composition.compose(overrides)
    callbacks = Callbacks(config)
    callbacks.on_run_start(config=config, config_name=composition.name)
    try:
        returned = run_job(
            task_function=task,
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=HydraContext(config_loader=composition.loader, callbacks=callbacks),
        )
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error) from error
    callbacks.on_run_end(config=config, config_name=composition.name, job_return=returned)
    return returned.return_value


def run_sweep(composition: Composition, task: Task, overrides: list[str]) -> list[Any]:
    """What the task returned for each job."""
    config = composition.compose(overrides, RunMode.MULTIRUN)
    callbacks = Callbacks(config)
    try:
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks.on_multirun_start(config=config, config_name=composition.name)
        context = HydraContext(config_loader=composition.loader, callbacks=callbacks)
        sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=config)
        arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        assert isinstance(arguments, list)
        returned = sweeper.sweep(arguments=[str(argument) for argument in arguments])
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from error
    callbacks.on_multirun_end(config=config, config_name=composition.name)
    return _flatten(returned)


def expand(parsed: list[Override]) -> list[list[str]]:
    """The overrides of each job, as Hydra's own sweeper deals them out; another sweeper's are not foreseen."""
    hydra = [str(override.input_line) for override in parsed if override.is_hydra_override()]
    own = [override for override in parsed if not override.is_hydra_override()]
    if any(override.is_sweep_override() and not override.is_discrete_sweep() for override in own):
        return [[*hydra, *(str(one.input_line) for one in own if not one.is_sweep_override())]]
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [str(one.input_line)]
        for one in own
    ]
    return [[*hydra, *job] for job in product(*choices)]


def _flatten(returned: Any) -> list[Any]:
    if isinstance(returned, list | tuple):
        return [leaf for part in returned for leaf in _flatten(part)]
    return [returned.return_value] if hasattr(returned, "return_value") else []
