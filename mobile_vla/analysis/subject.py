"""What is looked at: a store under the name that the report gives it, and what lies around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mobile_vla.contexts.reader import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """name     key of `compare.json`;  store  a complete one;  title  what sentences and figures call it, the name
             without one
    trained_with  what its run was trained with except the seed, and the seed; None where that is not known
    run      folder of the training run that it belongs to, where that is what was named
    epochs   stores of the run by epoch, complete ones, in their order
    pictures attention maps that a probe left beside the store
    """

    name: str
    store: Store
    run: Path | None = None
    epochs: Mapping[int, Store] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    title: str = ""
    trained_with: tuple[str, int] | None = None

    @property
    def called(self) -> str:
        return self.title or self.name

    def to_plain(self, tap: str) -> dict[str, object]:
        """`stores.<name>` of compare.json."""
        manifest = self.store.manifest
        return {
            "title": self.called,
            "folder": str(self.store.folder),
            "name": self.store.folder.name,
            "run": None if self.run is None else str(self.run),
            "rows": len(self.store),
            "episodes": manifest.episodes,
            "tap": tap,
            "shape": list(manifest.taps[tap].shape),
            "dtype": manifest.taps[tap].dtype,
            "fingerprints": dict(manifest.info.fingerprints),
            "source": dict(manifest.info.run),
        }
