"""A composed configuration as plain mappings and lists, not resolved: which settings it has, and what stands there.

`???` is a mandatory setting without a value, a text with `${` refers to another one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

MISSING = "???"
Tree = Mapping[str, Any]


def make_tree(composed: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def find_node(tree: Tree, key: str) -> tuple[bool, Any]:
    """Whether the dotted key is in the configuration, and what is there."""
    node: Any = tree
    for part in key.split("."):
        if isinstance(node, Mapping):
            if part not in node:
                return False, None
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:  # below a reference Hydra decides: `optimizer: ${model.optimizer}` has keys of its own
            return isinstance(node, str) and "${" in node, None
    return True, node


def is_table(tree: Tree, key: str) -> bool:
    """True where the key is a mapping that is empty: its keys are the user's."""
    return find_node(tree, key)[1] == {}


def is_in_table(tree: Tree, key: str) -> bool:
    """True where the key lies below such a mapping."""
    parts = key.split(".")
    return any(is_table(tree, ".".join(parts[:length])) for length in range(1, len(parts)))


def list_keys(tree: Tree, hydra: bool = False, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with what is there, mappings included; Hydra's own only where they are meant."""
    for name, node in tree.items():
        if prefix == "" and (name == "hydra") != hydra:
            continue
        yield f"{prefix}{name}", node
        if isinstance(node, Mapping):
            yield from list_keys(node, hydra, f"{prefix}{name}.")


def list_missing(tree: Tree) -> list[str]:
    """The dotted keys of mandatory settings without a value."""
    return [key for key, node in list_keys(tree) if node == MISSING]
