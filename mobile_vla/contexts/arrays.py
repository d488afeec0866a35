"""The form in which vectors leave and enter as plain arrays, whoever wrote them.

`context_vectors.npy` is (N, D). `context_metadata.json` is `{"schema", "metadata", "annotations": [...]}`: an
annotation belongs to the vector that its `vector_idx` counts, and says who it is. `action` and `predicted` are chunks
as nested lists, (C, A) in velocities; `[null, ...]` is a step that is not known. Every other key is a label.
"""

from mobile_vla.contexts.rows import UNKNOWN

VECTORS, METADATA = "context_vectors.npy", "context_metadata.json"
SCHEMA = 1
TAP = "context"
NEEDED = ("vector_idx", "episode", "frame_idx", "progress")
OPTIONAL = ("instruction", "variant", "part", "fingerprint", "shown_episode", "shown_frame", "action", "predicted")
ALWAYS = {"task_type": UNKNOWN, "difficulty": UNKNOWN}  # labels that are always written
ESCAPE = "label."  # before a label that is called like one of the other keys


def key_of(label: str) -> str:
    """The key of a label in an annotation."""
    return f"{ESCAPE}{label}" if label in (*NEEDED, *OPTIONAL) else label
