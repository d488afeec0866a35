"""Whether two stores' vectors are written in one basis: whether number 7 of one is number 7 of the other.

In: two stores and a tap. Out: nothing, or in words why a distance between their vectors would mean nothing. Two models
that differ by a rotation are the same model to every head, and as far apart as any two in every coordinate.
"""

from mobile_vla.contexts.manifest import flatten
from mobile_vla.contexts.reader import Store
from mobile_vla.core.members import name_members

BASE = "base"  # the fingerprint of the base weights
HEAD = "head"  # taps of the head, which each run trains from a start of its own
TRAINED = ("lora", "head")  # settings of what is trained on top of the base: they move vectors, not the basis


def explain_other_basis(before: Store, now: Store, tap: str, names: tuple[str, str] | None = None) -> str | None:
    """None where the basis is shared: the same base weights, the same model and preprocessing, the same tap; for taps
    of the head, the same run.

    names  what the two are called; their folders without it
    """
    called = names or (str(before.folder), str(now.folder))
    if tap not in before.taps or before.taps[tap].shape != now.taps[tap].shape:
        shapes = " and ".join(str(store.taps[tap].shape) if tap in store.taps else "none" for store in (before, now))
        return f"{called[0]} has no tap {tap} of the same shape ({shapes})"
    infos = before.manifest.info, now.manifest.info
    bases = [info.fingerprints.get(BASE) for info in infos]
    if not all(bases):
        unknown = [name for name, base in zip(called, bases, strict=True) if not base]
        return (
            f"whether the two share a basis is not known: no fingerprint of the base weights in {' and '.join(unknown)}"
        )
    if bases[0] != bases[1]:
        return f"the two share no basis: their base weights differ ({bases[0]} and {bases[1]})"
    for part in ("model", "preprocessing"):
        left, right = (_settings(name_members(info.configuration).get(part)) for info in infos)
        other = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
        if other:
            return f"the two may share no basis: {part}.{other[0]} is {left.get(other[0])} and {right.get(other[0])}"
    runs = [info.run.get("folder") for info in infos]
    if tap.startswith(HEAD) and (runs[0] is None or runs[0] != runs[1]):
        return f"{tap} is of the head, which another run begins anew: the two share no basis"
    return None


def _settings(values: dict | None) -> dict[str, object]:
    return flatten({name: value for name, value in (values or {}).items() if name not in TRAINED})
