"""A number with what it counts: `1 episode`, `2 episodes`."""


def plural(number: int, noun: str) -> str:
    """noun: in the singular, of those that take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
