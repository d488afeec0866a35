"""The right word that is nearest to a wrong one."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path


def find_nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The nearest of `right`, or None where nothing is near enough to be meant.

    For dotted keys, the whole key counts and so does its last part: `max_epoch` means `trainer.max_epochs`.
    """
    words = [word for word in dict.fromkeys(right) if not wrong.startswith(f"{word}.")]
    close = get_close_matches(wrong, words, n=1, cutoff=0.75)
    if close:
        return close[0]
    last = wrong.rpartition(".")[2]
    scored = [(SequenceMatcher(None, last, word.rpartition(".")[2]).ratio(), word) for word in words]
    score, word = max(scored, default=(0.0, ""))
    if score >= 0.75:
        return word
    # Of dotted keys a common beginning alone makes half a match, and means nothing.
    close = [] if "." in wrong else get_close_matches(wrong, words, n=1, cutoff=0.6)
    return close[0] if close else None


def suggest(wrong: str, right: Iterable[str]) -> str:
    """`: did you mean 'x'?`, or nothing: the end of a message."""
    nearest = find_nearest(wrong, right)
    return f": did you mean '{nearest}'?" if nearest else ""


def suggest_neighbour(path: Path) -> str:
    """The end of a message: the existing path that is nearest to one that does not exist."""
    parent = path.parent
    if not parent.is_dir():
        return f" ({parent} does not exist either)"
    try:
        return suggest(path.name, sorted(entry.name for entry in parent.iterdir()))
    except OSError:
        return ""
