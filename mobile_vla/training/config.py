"""All settings of a training, as frozen dataclasses; each lives beside what it configures, these join them."""

from dataclasses import dataclass, field

from mobile_vla.core.changes import Change, on_change
from mobile_vla.data.dataset import DataConfig
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.training.augmentation import AugmentationConfig
from mobile_vla.training.cache_plan import CacheConfig
from mobile_vla.training.callbacks.checkpoint import CheckpointConfig
from mobile_vla.training.callbacks.effects import EffectsConfig
from mobile_vla.training.callbacks.figures import FiguresConfig
from mobile_vla.training.callbacks.guard import GuardConfig
from mobile_vla.training.callbacks.probe import ProbeCallbackConfig
from mobile_vla.training.callbacks.stopping import EarlyStoppingConfig
from mobile_vla.training.module import OptimizationConfig
from mobile_vla.training.trainer import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class CallbacksConfig:
    """One entry a concern."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    early_stopping: EarlyStoppingConfig | None = None
    guard: GuardConfig = field(default_factory=GuardConfig)
    effects: EffectsConfig | None = field(default_factory=EffectsConfig)
    figures: FiguresConfig | None = field(default_factory=FiguresConfig)
    probe: ProbeCallbackConfig | None = None


@dataclass(frozen=True, kw_only=True)
class LoggerConfig:
    tensorboard: bool = True
    csv: bool = True


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """refuse: do not begin where an input cannot change what the policy puts out; false only says so."""

    refuse: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All of a training. `seed` fixes initialisation, order and dropout, but not what is held out (`data.split`).

    start  a checkpoint of this package whose trained weights it begins with; None: fresh adapters and a fresh head
    """

    data: DataConfig = field(metadata=on_change(Change.RUN))
    model: ModelConfig = field(metadata=on_change(Change.MODEL))
    seed: int = field(default=0, metadata=on_change(Change.RUN))
    start: str | None = field(default=None, metadata=on_change(Change.RUN))
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig, metadata=on_change(Change.FROM_STEP))
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig, metadata=on_change(Change.FROM_STEP))
    cache: CacheConfig = field(default_factory=CacheConfig, metadata=on_change(Change.SILENT))
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig, metadata=on_change(Change.SILENT))
    logger: LoggerConfig = field(default_factory=LoggerConfig, metadata=on_change(Change.SILENT))
    doctor: DoctorConfig = field(default_factory=DoctorConfig, metadata=on_change(Change.SILENT))
