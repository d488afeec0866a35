"""Instructions of three meanings, one of which is worded in one way only."""

from mobile_vla.data.meaning import Meanings

OF = {
    "go left": "left",
    "pass left": "left",
    "keep to the left side": "left",
    "go right": "right",
    "stay on the right": "right",
    "stop": "stop",
}
MEANINGS = Meanings(OF, known=True)


def words(text: str) -> int:
    return len(text.split())
