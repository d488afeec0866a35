"""A dataset opened to be looked at: what training refuses, a survey shows."""

from dataclasses import dataclass, replace

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig, Dataset, Progress, check_labels, open_dataset
from mobile_vla.survey.sketches import THUMBNAIL


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """data           which episodes, and how they would be trained on
    contact_sheet  episodes that the page shows, at most
    """

    data: DataConfig
    contact_sheet: int = 60

    def __post_init__(self):
        if self.contact_sheet < 0:
            raise UserError(f"a number of at least 0 expected, got {self.contact_sheet}", argument="contact_sheet")


def open_leniently(config: DataConfig, progress: Progress | None = None) -> Dataset:
    """All good episodes, whatever share of the files is broken, too short, or does not move in a component.

    Nothing is packed: training may want frames of another size. `UserError` where no file is good, and for a label
    that no episode has.
    """
    shown = replace(
        config,
        pack=False,
        faults="skip",
        max_fault_share=1.0,
        ends="pad",
        bounds=dict.fromkeys(config.components, (-1.0, 1.0)),
    )
    dataset = open_dataset(shown, THUMBNAIL, progress)
    check_labels(config, dataset)
    return dataset
