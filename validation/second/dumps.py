"""Planted rows in the form of `context_vectors.npy` and `context_metadata.json`. numpy only.

In: recordings, vectors, what is known of episodes and rows. Out: a `Dump`: arrays by tap, and annotations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from validation.second.driving import COMPONENTS
from validation.second.recordings import Recordings


@dataclass(frozen=True, kw_only=True, eq=False)
class Dump:
    """taps  name -> (N, D), float32;  annotations  of the N rows, see design "arrays in and out" """

    taps: Mapping[str, Float[np.ndarray, "N D"]]
    annotations: list[dict[str, Any]]
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"components": list(COMPONENTS)})

    def keep(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> "Dump":
        """Of these rows, in this order."""
        chosen = np.asarray(rows, int)
        annotations = [{**self.annotations[row], "vector_idx": index} for index, row in enumerate(chosen.tolist())]
        taps = {name: values[chosen] for name, values in self.taps.items()}
        return Dump(taps=taps, annotations=annotations, metadata=self.metadata)


def annotate(
    of: Recordings,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    texts: Sequence[str] | None = None,
    variant: str | None = None,
    action: Float[np.ndarray, "N C A"] | None = None,
    predicted: Float[np.ndarray, "N C A"] | None = None,
    shown: Int[np.ndarray, " N"] | None = None,
) -> list[dict[str, Any]]:
    """labels, texts  of each episode;  shown  of each row, the row whose picture was shown"""
    acted = None if action is None else _nest(action)
    told = None if predicted is None else _nest(predicted)
    found = []
    for row, (episode, frame) in enumerate(zip(of.episode.tolist(), of.frame.tolist(), strict=True)):
        one: dict[str, Any] = {
            "vector_idx": row,
            "episode": of.names[episode],
            "frame_idx": frame,
            "progress": float(of.progress[row]),
        }
        if texts is not None:
            one["instruction"] = texts[episode]
        if variant is not None:
            one["variant"] = variant
        if acted is not None:
            one["action"] = acted[row]
        if told is not None:
            one["predicted"] = told[row]
        if shown is not None:
            one |= {"shown_episode": of.names[of.episode[shown[row]]], "shown_frame": int(of.frame[shown[row]])}
        found.append(one | {name: values[episode] for name, values in (labels or {}).items()})
    return found


def join(parts: Sequence[Dump]) -> Dump:
    """Rows of the one after those of the other; of the taps that all have."""
    names = [name for name in parts[0].taps if all(name in part.taps for part in parts)]
    annotations = [one for part in parts for one in part.annotations]
    return Dump(
        taps={name: np.concatenate([part.taps[name] for part in parts]) for name in names},
        annotations=[{**one, "vector_idx": index} for index, one in enumerate(annotations)],
        metadata=parts[0].metadata,
    )


def _nest(chunks: np.ndarray) -> list[list[list[float | None]]]:
    """Steps that are not known as null."""
    plain = np.round(chunks, 5).astype(object)
    plain[np.isnan(chunks)] = None
    return plain.tolist()
