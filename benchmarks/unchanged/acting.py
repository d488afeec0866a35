"""What the Python API gives: `acting.py <out> <episodes> <store> <policy>...`, with either code in PYTHONPATH.

Out: arrays and json below <out>: the episodes as they are dealt, a store's rows, labels and vectors, and what each
policy does in the first frames of two episodes.
"""

import json
import sys
from pathlib import Path

import numpy as np

import mobile_vla as mv

out, episodes, place, *policies = sys.argv[1:]
FRAMES = 10  # more than a window, so that contexts leave the queue
root = Path(out)
root.mkdir()

data = mv.open_dataset(episodes)
about = {one.id: {"instruction": one.instruction, "labels": dict(one.labels), "frames": len(one)} for one in data}
split = {part: list(ids) for part, ids in data.split.items()}
(root / "episodes.json").write_text(json.dumps({"episodes": about, "split": split}, ensure_ascii=False))

store = mv.open_store(place, verify=True)
rows = {name: store.label(name).tolist() for name in store.labels} | {"episode": store.episodes.tolist()}
rows["own"] = store.select().tolist()
(root / "rows.json").write_text(json.dumps(rows, ensure_ascii=False))
for tap in store.taps:
    np.save(root / f"store_{tap.replace(':', '_')}.npy", store[tap])

for name in policies:
    policy = mv.load(name)
    with policy.capture("context") as taps:
        acted = []
        for recording in (data[0], data[1]):
            drive = policy.start(recording.instruction)
            acted.append([drive.act(frame) for frame in recording.frames[:FRAMES]])
    np.save(root / f"{name}_chunks.npy", np.array(acted))
    np.save(root / f"{name}_contexts.npy", taps["context"])
    about = {"components": list(policy.components), "window": policy.window, "trained": policy.trained}
    (root / f"{name}.json").write_text(json.dumps({**about, "notes": list(policy.notes)}))
