"""What a run's folder says of the run besides its checkpoints and logs: split, machine, files that were left out."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_vla.core.durable import write_text
from mobile_vla.runs.provenance import provenance

MACHINE = "machine.json"


def record_machine(folder: Path, resumed_at: int | None) -> None:
    """`machine.json`: what the run began on and, under `resumed`, what it was continued on, and from which step."""
    file = folder / MACHINE
    now: Mapping[str, Any] = {**provenance(), "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    content: dict[str, Any] = {**now, "resumed": []}
    if resumed_at is not None and file.exists():
        content = json.loads(file.read_text())
        content["resumed"].append({**now, "step": resumed_at})
    write_text(file, json.dumps(content, indent=1))
