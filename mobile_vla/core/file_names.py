"""Names of files and folders, made of what they hold."""

import re

STAMP = re.compile(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_")  # before a run's name
LONGEST = 60


def make_file_name(text: str) -> str:
    """The text with everything but letters, digits, `.`, `_` and `-` replaced, at most 60 characters long."""
    name = re.sub(r"[^\w.-]+", "-", text)
    return re.sub(r"-{2,}", "-", name).strip("-._")[:LONGEST] or "x"
