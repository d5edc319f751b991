"""The sections of a configuration: one for each kind of component, ``data``, ``model`` and ``train``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    create_model,
    field_validator,
    model_validator,
)

from scmrl_plugins.core.config.messages import where_set
from scmrl_plugins.core.interfaces import ComponentConfig, Modality, ModelConfig
from scmrl_plugins.registry.kinds import TABLE, Kind

PROTOCOLS = {
    "honest": "the validation split chose the epoch, the test split was read once",
    "published": "the epoch is the best on the test split itself, so the accuracy is optimistic",
}
"""``train.protocol``, and what it means for a reported accuracy."""


class ComponentSection(BaseModel):
    """The component of a kind by ``name``, and its options, which are checked by its ``Config``."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys of the section other than its own fields: the settings of the component."""
        return dict(self.model_extra or {})


class LossSection(ComponentSection):
    """A term of the loss, and its weight in the sum."""

    weight: float = Field(1.0, allow_inf_nan=False)


class TrainConfig(ComponentConfig):
    """The training recipe; the defaults are the published one."""

    epochs: int = Field(100, ge=1, le=10**6, description="passes over the training split")
    batch_size: int = Field(128, ge=1, le=10**9, description="samples per step, over all processes")
    lr: float | None = Field(None, gt=0, le=1e30, description="learning rate; none: 5e-3 batch_size / 1024")
    optimizer: str = Field("adamw", description="name of an optimizer of timm")
    weight_decay: float = Field(1e-4, ge=0, le=1e30)
    warmup_epochs: int | None = Field(
        None, ge=0, le=10**6, description="linear warm-up; none: 5, or a quarter of fewer than 20 epochs"
    )
    warmup_lr: float = Field(1e-6, ge=0, le=1e30, description="learning rate at the start of the warm-up")
    min_lr: float = Field(1e-5, ge=0, le=1e30, description="learning rate at the end of the cosine")
    schedule: Literal["epoch", "step"] = Field(
        "epoch",
        description="when warm-up and cosine change the learning rate: each epoch, as published, or each step",
        json_schema_extra={"before": "epoch"},
    )
    clip_grad: float | None = Field(None, gt=0, description="maximum norm of the gradient; none: no clipping")
    accumulate: int = Field(1, ge=1, le=10**6, description="batches to average the gradients of for one step")
    lr_scale: dict[str, Annotated[float, Field(ge=0, le=1e30)]] = Field(
        default_factory=dict,
        description='factors of the learning rate by part of the model, as { "backbones.audio" = 0.1 }',
    )
    freeze: tuple[Modality, ...] = Field(
        (), strict=False, description="modalities with a frozen encoder and backbone, weights and statistics alike"
    )
    freeze_feed_forward: bool = Field(
        True,
        description="whether train.freeze includes the part of a backbone that follows the fusion",
        json_schema_extra={"before": True},
    )
    cache_tokens: bool = Field(
        False,
        description="whether the tokens of frozen modalities are computed once and stored, which all fusions "
        "trained on them then share; every modality must be in train.freeze",
        json_schema_extra={"before": False},
    )
    pretrained: dict[Modality, str] = Field(
        default_factory=dict,
        description="runs whose encoder and backbone, and head if both have one for this modality alone, the "
        'training starts from, by modality, as { audio = "runs/audio" }',
        json_schema_extra={"before": {}},
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of a moving average of the weights, which replaces them in evaluation",
    )
    monitor: Literal["accuracy", "loss"] = Field(
        "accuracy",
        description="by which figure an epoch is the best; the loss varies less where few samples are validated",
        json_schema_extra={"before": "accuracy"},
    )
    patience: int | None = Field(None, ge=1, description="epochs without improvement before training stops")
    seed: int = Field(42, ge=0, lt=2**32, description="seed of the weights, the order of the data and all draws")
    workers: int = Field(0, ge=0, le=256, description="worker processes that load data")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="mixed precision by accelerate")
    protocol: Literal["honest", "published"] = Field(
        "honest",
        description="honest: validation selects the epoch, test is read once; published: the best epoch on test",
    )
    keep_checkpoints: int = Field(2, ge=1, description="number of latest checkpoints to keep")
    on_nan: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="for a loss or gradient that is not finite: stop, skip the step, or roll back to the last "
        "checkpoint and continue after the step",
    )
    on_dead: Literal["warn", "stop"] = Field(
        "warn",
        description="for a neuron layer that is dead (fires below 0.1 %) or saturated (above 95 %) on the split "
        "that is evaluated after an epoch: a line with what usually helps, or stop",
        json_schema_extra={"before": "warn"},
    )
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints within an epoch")
    checkpoint_steps: int | None = Field(None, ge=1, description="steps between checkpoints within an epoch")
    sync_batch_norm: bool = Field(
        True,
        description="in several processes, batch norm over the samples of all of them, as in one process",
    )
    log_steps: int = Field(10, ge=1, description="steps between lines of metrics within an epoch")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",),
        strict=False,
        description="trackers of accelerate that also receive the metrics: tensorboard, wandb, mlflow, ...",
    )


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ValueError(f"the smaller limit comes first, as in [{high:g}, {low:g}]")
    return limits


Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_ascending)]
"""The limits of a uniform distribution."""
Share = Annotated[float, Field(ge=0, le=1)]


class DataConfig(ComponentConfig):
    """Treatment of the samples, for every data set."""

    on_bad: Literal["error", "skip"] = Field(
        "error", description="for an unusable file: stop, or skip its sample and list it in the run"
    )
    mixup: float = Field(
        0.0, ge=0, description="a of Beta(a, a), from which the share in mixing two samples is drawn; 0: off"
    )
    event_mix: float = Field(
        0.0,
        ge=0,
        description="a of Beta(a, a), from which the share in mixing two samples of events is drawn; 0: off",
    )

    noise: dict[Modality, Range] = Field(
        default_factory=dict,
        description="limits in dB of the signal-to-noise ratio of Gaussian noise on training inputs, by modality, "
        "as { audio = [-5, 15] }; drawn uniformly for each sample and epoch",
        json_schema_extra={"before": {}},
    )
    noise_share: Share = Field(
        0.5,
        description="share of the training samples that get data.noise, drawn for each modality independently",
        json_schema_extra={"before": 0.5},
    )
    modality_dropout: dict[Modality, Share] = Field(
        default_factory=dict,
        description="probability that a modality of a training sample is replaced by silence or black, as "
        "{ audio = 0.15 }; the events exclude each other, so that a sample never lacks both",
        json_schema_extra={"before": {}},
    )

    @field_validator("modality_dropout")
    @classmethod
    def _one_modality_is_left(cls, dropout: dict[Modality, float]) -> dict[Modality, float]:
        if (total := sum(dropout.values())) > 1:
            raise ValueError(f"a sample loses one modality at most, but the probabilities add up to {total:g}")
        return dropout

    @model_validator(mode="after")
    def _one_mix(self) -> DataConfig:
        if self.mixup and self.event_mix:
            raise ValueError("data.mixup and data.event_mix are both set; set one of them to 0")
        return self


def kind_sections(kinds: Iterable[Kind]) -> dict[str, Any]:
    """The field of each kind: a section with its default component, or a list where the kind repeats."""
    listed: Any = (list[LossSection], Field(default_factory=list, description="empty: the losses of the fusion"))
    return {
        kind.name: listed if kind.repeats else (ComponentSection, ComponentSection(name=kind.default))
        for kind in kinds
    }


_KindSections: Any = create_model("_KindSections", **kind_sections(TABLE.values()))


class ExperimentConfig(_KindSections):
    """A complete experiment: a section for each kind, and those below.

    ``compose`` makes one from files and options; the ``config.toml`` of a run holds one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    if TYPE_CHECKING:

        def __getattr__(self, kind: str) -> Any:
            """The section of a kind, or the list of them."""

    # Where each key was set, for messages: "fusion.alpha" -> "my.toml".
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    def section(self, kind: str) -> Any:
        """The section of a kind, or the list of them where the kind repeats."""
        return getattr(self, kind)

    def source(self, key: str) -> str:
        """Where a key was set, for the end of a message: `` (in my.toml)``, or an empty string."""
        return where_set(key, self._sources)

    def kinds(self) -> dict[str, Any]:
        """The name of the component of each kind, or the list of names where the kind repeats."""
        return {
            kind: [section.name for section in value] if isinstance(value, list) else value.name
            for kind, value in ((kind, self.section(kind)) for kind in TABLE)
        }
