"""What every head is to the rest of the package: windows of contexts in, chunks of normalised actions out.

To add one: a dataclass that extends `HeadConfig`, with a `build` that makes an `nn.Module`, in a file of its own, and
its settings in `conf/model/head/<name>.yaml` with the name under which it is listed below, or `<module>:<class>`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from mobile_vla.core.members import Chosen, Members

HEADS = Members(
    place="model.head",
    homes={"lstm": "mobile_vla.models.heads.lstm_decoder:LSTMDecoderConfig"},
    default="lstm",
)


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Chosen):
    """name: which head the settings are of."""

    members: ClassVar[Members] = HEADS
    name: str = HEADS.default

    def build(self, context_width: int, chunk: int, num_components: int) -> Any:
        raise NotImplementedError
