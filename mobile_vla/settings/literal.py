"""Values as users type them, outside a sweep: what Hydra's grammar cannot read is the text itself.

In: the text after `key=`. Out: a text that Hydra reads as what was meant. Numbers, lists, mappings, null, quoted
strings, escapes and interpolations keep the meaning that Hydra gives them. A path with spaces, commas,
parentheses, `=`, `#` or Korean, which Hydra would refuse or take for a sweep or a function call, stands for itself.
"""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Sweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError

_PARSER = OverridesParser.create()
_PARSER.functions.definitions.clear()  # without functions `name(x)` is no value of the grammar, and so a literal
_PLAIN_ELEMENT = r"[^,\[\]{}'\"]+"  # neither quoted nor nested
_PLAIN_LIST = re.compile(r"\[[^\[\]{}'\"]*\]")  # of such elements


def escape_interpolation(text: str) -> str:
    """The text for which OmegaConf resolves to `text`: `${` loses its meaning, backslashes before it keep theirs."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def quote(text: str) -> str:
    """The text as a quoted string of Hydra's grammar that means exactly this text."""
    return QuotedString(text=escape_interpolation(text), quote=Quote.single).with_quotes()


def read_value(text: str) -> Any:
    """The value that Hydra's grammar gives to the text; a HydraException where it gives none or a sweep."""
    if text == "":
        return ""
    value = _PARSER.parse_rule(f"key={text}", "override").value()
    if isinstance(value, Sweep):
        raise HydraException("a sweep")
    if isinstance(value, str) and value == text.strip() != text:
        raise HydraException("spaces around it that the grammar would drop")
    if isinstance(value, str) and "${" in value:
        try:
            OmegaConf.create({"value": value})
        except GrammarParseError as error:
            raise HydraException("not an interpolation") from error
    return value


def is_literal(text: str) -> bool:
    """True where the text stands for itself."""
    try:
        read_value(text)
    except HydraException:
        return True
    return False


def read_text(text: str) -> str:
    """The value of a setting that is always a text, such as a path: only quotes and escapes are read."""
    try:
        value = read_value(text)
    except HydraException:
        return text
    return value if isinstance(value, str) else text


def read_list(text: str) -> list[str] | None:
    """The elements of a list of texts, such as paths, each of which may stand for itself; None where it is none."""
    if _PLAIN_LIST.fullmatch(text):  # element by element: the grammar would make numbers of names made of digits
        return [read_text(element.strip()) for element in text[1:-1].split(",")]
    try:
        value = read_value(quote_where_needed(text))
    except HydraException:
        return None
    return [str(element) for element in value] if isinstance(value, list) else None


def write_list(texts: Sequence[str]) -> str:
    """A list that `read_list` reads as these texts."""
    return f"[{','.join(text if re.fullmatch(_PLAIN_ELEMENT, text) else quote(text) for text in texts)}]"


def quote_where_needed(text: str) -> str:
    """The text, quoted where it stands for itself; in a list, each element that does."""
    if not is_literal(text):
        return text
    if _PLAIN_LIST.fullmatch(text):
        elements = [quote_where_needed(element.strip()) for element in text[1:-1].split(",")]
        listed = f"[{','.join(elements)}]"
        if not is_literal(listed):
            return listed
    return quote(text)
