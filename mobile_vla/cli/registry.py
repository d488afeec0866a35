"""The commands, in the order in which the overview lists them; each module is imported when it is asked for."""

from importlib import import_module

from mobile_vla.jobs.command import Command

MODULES = {
    "synth": "mobile_vla.cli.synth",
    "stats": "mobile_vla.cli.stats",
    "pack": "mobile_vla.cli.pack",
    "train": "mobile_vla.cli.train",
    "eval": "mobile_vla.cli.eval",
    "probe": "mobile_vla.cli.probe",
    "compare": "mobile_vla.cli.compare",
    "inspect": "mobile_vla.cli.inspect",
    "doctor": "mobile_vla.cli.doctor",
    "import": "mobile_vla.cli.import_",
    "export": "mobile_vla.cli.export",
    "runs": "mobile_vla.cli.runs",
    "board": "mobile_vla.cli.board",
}


def load_command(name: str) -> Command:
    """The command of that name; a KeyError where there is none."""
    return import_module(MODULES[name]).COMMAND
