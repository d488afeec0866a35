"""What `inspect` found, as fields for programs and as rows for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_vla.checkpoints.difference import Difference, Moved
    from mobile_vla.checkpoints.fitting import Fit
    from mobile_vla.checkpoints.inspection import Inspection
    from mobile_vla.models.memory import Memory
    from mobile_vla.models.policy import Policy

LISTED = 10  # names of each kind in the json; the numbers count all
Row = tuple[str, str]
WHY = {
    "registered": "saved under two names",
    "tied": "tied to the embeddings",
    "shared": "of the same place as another",
}


def payload_of_file(found: "Inspection") -> dict[str, Any]:
    opened, parts = found.opened, found.parts
    total = parts.total
    return {
        "path": opened.path,
        "format": found.format.name,
        "container": opened.container,
        "section": opened.section,
        "files": [file.name for file in opened.files],
        "bytes": opened.num_bytes,
        "tensors": total.tensors,
        "parameters": {"listed": total.listed, "unique": total.unique},
        "components": {part: asdict(count) for part, count in parts.counts.items()},
        "twice": [asdict(twice) for twice in parts.twice],
        "dtypes": found.dtypes,
        "epoch": opened.epoch,
        "global_step": opened.global_step,
        "beside": sorted(opened.beside),
        "fits": None if found.fit is None else _payload_of_fit(found.fit),
        "scanned": found.scan.tensors,
        "not_finite": found.scan.not_finite,
        "zero": _shorten(found.scan.zero),
        "faults": found.faults,
        "notes": found.notes,
        "convert": found.format.convert,
        "others": opened.others,
    }


def _payload_of_fit(fit: "Fit") -> dict[str, Any]:
    lora, head = fit.lora, fit.head
    return {
        "model": fit.model,
        "exact": fit.exact,
        "lora": None
        if lora is None
        else {"preset": lora.preset, "r": lora.r, "layers": lora.layers, "dora": lora.dora},
        "head": None if head is None else {k: v for k, v in asdict(head).items() if k != "dropout"},  # not of shapes
        "head_outputs": fit.head_outputs,
        "absent": fit.absent,
        "missing": _shorten(fit.missing),
        "unexpected": _shorten(fit.unexpected),
        "wrong_shape": _shorten(fit.wrong_shape),
    }


def _shorten(names: Any) -> dict[str, Any]:
    return {"number": len(names), "first": list(names)[:LISTED]}


def rows_of_file(found: "Inspection", difference: "Difference | None") -> list[Row]:
    opened, parts, total = found.opened, found.parts, found.parts.total
    section = f", weights under '{opened.section}'" if opened.section else ""
    rows = [
        ("file", f"{opened.path.name}: {found.format.what} ({opened.container}), {_format(opened.num_bytes)}{section}"),
    ]
    if total.tensors:
        rows.append(("parameters", f"{total.listed:,} listed in {total.tensors:,} tensors, {total.unique:,} unique"))
    rows += [
        ("", f"{twice.parameters:,} {WHY[twice.kind]} ({twice.tensors:,} tensors, told by {twice.told_by})")
        for twice in parts.twice
    ]
    rows += [
        (f"  {part}", f"{count.tensors:,} tensors, {count.listed:,} listed, {count.unique:,} unique")
        for part, count in parts.counts.items()
    ]
    if total.tensors:
        rows.append(("dtypes", ", ".join(f"{dtype} {number:,}" for dtype, number in found.dtypes.items())))
    if opened.epoch is not None or opened.global_step is not None:
        rows.append(("epoch, step", f"{_known(opened.epoch)}, {_known(opened.global_step)}"))
    rows += _rows_of_fit(found.fit)
    if found.scan.tensors:
        rest = "" if found.scan.tensors == len(parts.first) else "; the others with scan=all"
        seen = f"{found.scan.tensors:,} tensors scanned, {len(found.scan.not_finite)} with NaN or infinity{rest}"
        rows.append(("values", seen))
    rows += [("▸ fault", fault) for fault in found.faults] + [("▸ note", note) for note in found.notes]
    if opened.others:
        rows.append(("others of the run", ", ".join(opened.others)))
    return rows + (_rows_of_difference(difference) if difference is not None else [])


def _rows_of_fit(fit: "Fit | None") -> list[Row]:
    if fit is None:
        return [("fits", "none of our models: no part of it is known")]
    parts = []
    if fit.lora is not None:
        parts.append(
            f"LoRA r {fit.lora.r} on {'every linear layer' if fit.lora.preset == 'all' else 'the text decoder'}"
        )
    if fit.head is not None:
        parts.append(f"{fit.head.describe()} with {fit.head_outputs} outputs")
    rows = [("fits" if fit.exact else "fits in part", f"model {fit.model}{''.join(f', {part}' for part in parts)}")]
    if fit.absent:
        rows.append(("  not in the file", ", ".join(fit.absent)))
    for name in ("missing", "unexpected", "wrong_shape"):
        names = list(getattr(fit, name))
        if names:
            rows.append((f"  {name.replace('_', ' ')}", f"{len(names):,}, first {names[0]}"))
    return rows


def payload_of_difference(difference: "Difference") -> dict[str, Any]:
    return {
        "components": {
            name: {
                "equal": part.equal,
                "changed": part.changed,
                "only_here": _shorten(part.only_here),
                "only_there": _shorten(part.only_there),
                "other_shape": _shorten(part.other_shape),
                **_payload_of_move(part.moved),
            }
            for name, part in difference.parts.items()
        },
        "most_moved": [{"name": name, **_payload_of_move(moved)} for name, moved in difference.most_moved],
    }


def _payload_of_move(moved: "Moved | None") -> dict[str, Any]:
    return {"relative": None, "max": None} if moved is None else {"relative": moved.relative, "max": moved.max}


def _rows_of_difference(difference: "Difference") -> list[Row]:
    rows: list[Row] = [("against", "from path to against; norm of the difference / norm of the first")]
    for name, part in difference.parts.items():
        told = [f"{part.equal:,} tensors equal, {part.changed:,} changed"]
        if part.changed and part.moved is not None:
            relative = "from zero" if part.moved.relative is None else f"by {part.moved.relative:.3g}"
            told.append(f"moved {relative}, at most {part.moved.max:.3g}")
        for words, names in (
            ("only in path", part.only_here),
            ("only in against", part.only_there),
            ("of another shape", part.other_shape),
        ):
            if names:
                told.append(f"{len(names):,} {words}")
        rows.append((f"  {name}", "; ".join(told)))
    return rows


def payload_of_model(policy: "Policy", memory: "Mapping[int, Memory]") -> dict[str, Any]:
    """memory: by the number of distinct frames of a batch."""
    from collections import Counter

    from mobile_vla.checkpoints.parts import PARTS, find_part

    weights = dict(policy.named_parameters())
    tensors, listed = Counter[str](), Counter[str]()
    for name, weight in weights.items():
        part = find_part(name, name, policy.backbone.anatomy)
        tensors[part] += 1
        listed[part] += weight.numel()
    counts = policy.num_parameters()
    return {
        "format": "configuration",
        "tensors": len(weights),
        "parameters": {"listed": counts["total"], "unique": counts["total"]},
        "trainable": counts["trainable"],
        "components": {
            part: {"tensors": tensors[part], "listed": listed[part], "unique": listed[part]}
            for part in PARTS
            if tensors[part]
        },
        "dtypes": dict(Counter(str(weight.dtype).removeprefix("torch.") for weight in weights.values())),
        "epoch": None,
        "global_step": None,
        "bytes": sum(weight.nbytes for weight in weights.values()),
        "memory": [
            {"frames": frames, **asdict(taken), "total": taken.total, "fits_gb": taken.fits()}
            for frames, taken in memory.items()
        ],
    }


def rows_of_model(payload: Mapping[str, Any], precision: str) -> list[Row]:
    total, trained = payload["parameters"]["unique"], payload["trainable"]
    rows: list[Row] = [
        ("parameters", f"{total:,} in {payload['tensors']:,} tensors; {trained:,} are trained ({trained / total:.2%})"),
        *(
            (f"  {part}", f"{count['tensors']:,} tensors, {count['unique']:,}")
            for part, count in payload["components"].items()
        ),
        ("dtypes", ", ".join(f"{dtype} {number:,} tensors" for dtype, number in payload["dtypes"].items())),
    ]
    for taken in payload["memory"]:
        fits = [f"{card}" for card, enough in taken["fits_gb"].items() if enough]
        rows += [
            (f"a step over {taken['frames']} frames", f"{_format(taken['total'])} (estimated, {precision})"),
            (
                "",
                ", ".join(
                    f"{words} {_format(taken[name])}"
                    for name, words in (
                        ("weights", "weights"),
                        ("gradients", "gradients"),
                        ("optimizer", "AdamW"),
                        ("activations", "activations"),
                        ("overhead", "assumed for the rest"),
                    )
                ),
            ),
            ("  fits a card of", f"{', '.join(fits)} GB" if fits else "more than 80 GB"),
        ]
    return rows


def _format(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)
