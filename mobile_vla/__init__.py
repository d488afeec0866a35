"""Fine-tune, probe and compare vision-language-action policies on a mobile robot's own episodes.

    import mobile_vla as mv

    policy = mv.load("runs/train/x")
    chunk = policy.start("go left").act(frame)  # (10, A), in the data's own units

A name is imported when it is first used: `import mobile_vla` alone brings neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_vla.api.dataset import open_dataset
    from mobile_vla.api.evaluating import evaluate
    from mobile_vla.api.judging import compare, judge
    from mobile_vla.api.loading import load
    from mobile_vla.api.probing import probe
    from mobile_vla.api.training import train
    from mobile_vla.contexts.reader import open_store

__version__ = "0.1.0"
__all__ = ["compare", "evaluate", "judge", "load", "open_dataset", "open_store", "probe", "train"]

_HOME = {
    "compare": "mobile_vla.api.judging",
    "evaluate": "mobile_vla.api.evaluating",
    "judge": "mobile_vla.api.judging",
    "load": "mobile_vla.api.loading",
    "open_dataset": "mobile_vla.api.dataset",
    "open_store": "mobile_vla.contexts.reader",
    "probe": "mobile_vla.api.probing",
    "train": "mobile_vla.api.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mobile_vla' has no attribute '{name}'; it offers {', '.join(__all__)}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
