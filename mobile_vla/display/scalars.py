"""Names of the logged scalars and settings, laid out for comparing runs: one group of charts for each question."""

from collections.abc import Mapping
from typing import Any

CHART_LAYOUT = {  # TensorBoard's custom scalars: what belongs into one chart
    "loss": {
        "validation against baselines": ["Multiline", ["^val_loss$", "^baseline/.*"]],
        "training and validation": ["Multiline", ["^train/loss$", "^val_loss$"]],
        "what the head minimises": ["Multiline", ["^train/objective$", "^val/objective$"]],
    },
    "errors": {
        "RMSE by component": ["Multiline", ["^val_component/rmse_.*"]],
        "RMSE by horizon": ["Multiline", ["^val_horizon/rmse_.*"]],
    },
    "effects": {
        "while training, on some episodes": ["Multiline", ["^effects/.*"]],
        "of instruction and image": ["Multiline", ["^effect/.*"]],
    },
}
HPARAMS = (  # what runs may differ in; a board's tab shows those in which they do
    "seed", "model.lora.preset", "model.lora.r", "optimization.lr", "data.batch_size", "trainer.max_epochs",
    "trainer.accumulate_grad_batches", "trainer.precision", "model.weights", "model.layout", "model.lora.alpha",
    "model.lora.dropout", "model.lora.layers", "model.head.name", "model.head.hidden", "model.head.layers",
    "optimization.head_lr", "optimization.schedule", "optimization.weight_decay", "optimization.warmup_epochs",
    "data.root", "data.components", "data.window", "data.chunk", "data.ends", "data.span", "data.action_shift",
)  # fmt: skip
COMPARED = ("val_loss", "effect/instruction", "effect/image", "val/rmse", "val/sign_accuracy")


def validation_scalars(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one validation; what has no denominator has no scalar."""
    found = {
        "val_loss": summary["loss"],
        "val/rmse": summary["rmse"],
        "val/sign_accuracy": summary["sign_accuracy"],
        f"val/displacement_error_{summary['displacement_unit']}": summary["displacement_error"],
        "val/episodes": summary["denominators"]["episodes"],
        "val/windows": summary["denominators"]["windows"],
    }
    for name, errors in summary["by_component"].items():
        found |= {f"val_component/{kind}_{name}": errors[kind] for kind in ("loss", "rmse")}
    for step, errors in enumerate(summary["by_horizon"], start=1):
        found |= {f"val_horizon/{kind}_{step:02d}": errors[kind] for kind in ("loss", "rmse")}
    for label, values in summary["by_label"].items():
        for value, errors in values.items():
            kinds = ("loss", "rmse", "sign_accuracy", "displacement_error")
            found |= {f"val_label/{label}={value}/{kind}": errors[kind] for kind in kinds}
            found[f"val_label/{label}={value}/episodes"] = errors["denominators"]["episodes"]
    return {name: float(value) for name, value in found.items() if value is not None}
