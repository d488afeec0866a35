"""A backbone as a folder: configuration, weights, tokenizer and image processor, with no name of ours.

In: parameters of a backbone's model by their plain names, and what reads text and frames for it. Out: a folder that
`model.weights=<folder>` takes, and transformers too if the model is its own. It appears under its name only when it is
whole.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerBase

from mobile_vla.checkpoints.key_maps import plain_name
from mobile_vla.core.durable import made_whole
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.loading import Source

PIL_FILTERS = {"bilinear": 2, "bicubic": 3}


def write_backbone(
    weights: Mapping[str, Tensor],
    source: Source,
    preprocessing: Preprocessing,
    folder: Path,
) -> None:
    """`folder` must not exist; its parent must."""
    with made_whole(folder) as part:
        write_readers(source.tokenizer, preprocessing, part)
        source.config.write_architecture(source.architecture, part)
        contiguous = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(contiguous, part / "model.safetensors", metadata={"format": "pt"})


def write_readers(tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing, folder: Path) -> None:
    """The tokenizer and the image processor, as `AutoTokenizer` and `AutoImageProcessor` find them."""
    tokenizer.save_pretrained(folder)
    processor = CLIPImageProcessorPil(
        size={"height": preprocessing.size, "width": preprocessing.size},
        do_center_crop=False,  # frames are squashed
        resample=PIL_FILTERS[preprocessing.interpolation],
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )
    processor.save_pretrained(folder)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The backbone's own parameters, whether adapters are injected or not; the adapters' are left out."""
    return {plain_name(name): weight for name, weight in model.named_parameters() if ".lora_" not in name}
