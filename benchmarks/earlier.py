"""The package as it was at an earlier commit, to be run beside today's."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BASELINE = "0d32379"  # before small models were made fast


def check_out(commit: str, folder: Path) -> Path:
    """The files of a commit, in a new folder; `SystemExit` in one line where there is none."""
    archive = subprocess.run(["git", "-C", CHECKOUT, "archive", commit], capture_output=True)
    if archive.returncode:
        raise SystemExit(
            f"--baseline {commit}: expected a commit of this repository ({archive.stderr.decode().strip()})"
        )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder
