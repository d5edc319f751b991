"""Assembles a configuration: data set, model and loss, from components of the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from scmrl_plugins.core.config.messages import explain
from scmrl_plugins.core.config.sections import ComponentSection, ExperimentConfig, LossSection, TrainConfig
from scmrl_plugins.core.interfaces import ComponentConfig, Context, Dataset, ModelOutput, Modulation, Neuron
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import UserError, catalogue

LONGEST_NAME = 500
"""Of a class, in characters: names are in every table, figure and file of results."""


@dataclass(frozen=True)
class Assembly:
    """The parts of an experiment, and its configuration with all defaults filled in."""

    config: ExperimentConfig
    dataset: Dataset
    model: AudioVisualModel
    loss: Objective
    modulation: Modulation | None = None
    """None where the configured one does nothing."""


class Objective(nn.Module):
    """sum_i weight_i loss_i: ``(ModelOutput, target [B]) -> (total, {name: term before its weight})``."""

    def __init__(self, names: list[str], terms: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        self.names = names
        self.terms = nn.ModuleList(terms)
        self.weights = weights

    def forward(self, output: ModelOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        values = [term(output, target) for term in self.terms]
        for name, value in zip(self.names, values, strict=True):
            if not isinstance(value, Tensor) or value.dim():
                returned = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                entry = catalogue().get("loss", name)
                raise UserError(f"{entry} returned {returned}, expected a scalar; {entry.plugin.remedy}")
        total = torch.stack([w * v for w, v in zip(self.weights, values, strict=True)]).sum()
        return total, {name: value.detach() for name, value in zip(self.names, values, strict=True)}


class _NeuronFactory:
    """Builds the configured neuron; a component may override its settings for its own layers."""

    def __init__(self, cls: Any, config: ExperimentConfig) -> None:
        self.cls, self.config = cls, config
        self.context: Context | None = None

    def __call__(self, **overrides: Any) -> Neuron:
        section = self.config.neuron
        if unknown := overrides.keys() - self.cls.Config.model_fields.keys():
            raise UserError(
                f"neuron {section.name!r} has no {min(unknown)!r}, which another component sets: "
                f"leave that setting out or choose another neuron"
            )
        return self.cls(_checked(self.cls, section.options | overrides, "neuron", self.config), self.context)


def assemble(config: ExperimentConfig) -> Assembly:
    """Build the data set, the model, the loss and the modulation; ``train.seed`` alone determines the weights.

    Reads no data, except where the classes can only be read from files. Raises ``UserError`` for unknown
    components and options.
    """
    dataset, config = build_dataset(config)
    config = config.model_copy(update={"train": _resolve_recipe(config.train)})
    model, loss = assemble_model(config, dataset.classes, dataset.channels)
    return Assembly(model.config, dataset, model, loss, build_modulation(model))


def build_dataset(config: ExperimentConfig) -> tuple[Dataset, ExperimentConfig]:
    """Only the data set, and the configuration with all defaults. Raises like ``assemble``."""
    cls: Any
    cls, checked, _ = _load("dataset", config.dataset, config)
    checked = cls.settle(checked)
    section = config.dataset.model_copy(update=checked.model_dump())
    dataset = cls(checked, config.model)
    for name in dataset.classes:
        if len(name) > LONGEST_NAME:
            raise UserError(
                f"data set {config.dataset.name!r}: the name of a class has {len(name):,} characters "
                f"({name[:20]!r}...): shorten it to {LONGEST_NAME}"
            )
    return dataset, config.model_copy(update={"dataset": section})


def assemble_model(
    config: ExperimentConfig, classes: Sequence[str], channels: Mapping[str, int]
) -> tuple[AudioVisualModel, Objective]:
    """Only the model and the loss, for given classes and input channels ``{"audio": 1, "visual": 3}``."""
    components = _Components(config)
    neuron_class, _ = components.load("neuron")
    fusion_class, fusion_config = components.load("fusion")
    context = _context(config, classes, channels, neuron_class, fusion_class)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.train.seed)  # the CPU's only: weights are created there
        encoders = components.build_per_modality("encoder", context)
        backbones = components.build_per_modality("backbone", context)
        widths = next(iter(backbones.values())).widths
        fusion = fusion_class(fusion_config, dataclasses.replace(context, widths=widths))
        if list(fusion.between) and not widths:
            raise UserError(
                f"fusion {config.fusion.name!r} has blocks between the stages of a backbone, and "
                f"{config.backbone.name!r} has no stages: choose another backbone, such as 'qkformer'"
            )
        readout_class, readout_config = components.load("readout")
        if (context.joint or context.heads) and not readout_class.further_heads:
            raise UserError(
                f"fusion {config.fusion.name!r} needs a joint stream or further heads, which readout "
                f"{config.readout.name!r} does not support: choose another, such as 'add'"
            )
        readout = readout_class(readout_config, context)
        terms = components.build_listed("loss", fusion.default_losses, context)
    components.load("modulation")

    resolved = config.model_copy(update=components.sections)
    model = AudioVisualModel(resolved, classes, channels, neuron_class, encoders, backbones, fusion, readout)
    if config.model.layout == "channels-last":
        model.to(memory_format=torch.channels_last)
    model.record_firing_rates(any(term.needs_firing_rates for term in terms))
    return model, Objective([s.name for s in resolved.loss], terms, [s.weight for s in resolved.loss])


def build_modulation(model: AudioVisualModel) -> Modulation | None:
    """The modulation that the model's configuration names, or none where that does nothing."""
    config = model.config
    cls, checked, _ = _load("modulation", config.modulation, config)
    if not cls.acts:
        return None
    context = _context(config, model.classes, model.channels, model.neuron_type, type(model.fusion))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.train.seed)
        return cls(checked, context)


def _context(
    config: ExperimentConfig, classes: Sequence[str], channels: Mapping[str, int], neuron: Any, fusion: Any
) -> Context:
    """What the components of a model with this neuron and this fusion know of it."""
    factory = _NeuronFactory(neuron, config)
    factory.context = Context(
        **config.model.model_dump(exclude={"layout"}),
        num_classes=len(classes),
        channels=channels,
        neuron=factory,
        modalities=fusion.modalities,
        joint=fusion.joint,
        heads=fusion.heads,
    )
    return factory.context


class _Components:
    """Loads and builds the components that a configuration names, and completes their sections."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        self.sections: dict[str, Any] = {}
        """By kind, the sections of the components loaded so far, with every default filled in."""

    def load(self, kind: str) -> tuple[Any, ComponentConfig]:
        """The class of a kind's component and its checked options."""
        cls, checked, self.sections[kind] = _load(kind, self.config.section(kind), self.config)
        return cls, checked

    def build_per_modality(self, kind: str, context: Context) -> dict[str, Any]:
        """One component for each modality of the context."""
        cls, checked = self.load(kind)
        return {name: cls(checked, dataclasses.replace(context, modality=name)) for name in context.modalities}

    def build_listed(self, kind: str, default: Sequence[str | Mapping[str, Any]], context: Context) -> list[Any]:
        """The components of a kind that repeats, or the default ones where the configuration lists none."""
        built, complete = [], []
        for index, section in enumerate(self.config.section(kind) or map(_as_section, default)):
            cls, checked, section = _load(kind, section, self.config, f"{kind}.{index}")
            built.append(cls(checked, context))
            complete.append(section)
        self.sections[kind] = complete
        return built


def _as_section(loss: str | Mapping[str, Any]) -> LossSection:
    return LossSection(name=loss) if isinstance(loss, str) else LossSection(**loss)


def _resolve_recipe(train: TrainConfig) -> TrainConfig:
    lr = train.lr if train.lr is not None else 5e-3 * train.batch_size / 1024
    warmup = train.warmup_epochs if train.warmup_epochs is not None else min(5, train.epochs // 4)
    return train.model_copy(update={"lr": lr, "warmup_epochs": warmup})


def _load(
    kind: str, section: ComponentSection, config: ExperimentConfig, key: str | None = None
) -> tuple[Any, ComponentConfig, ComponentSection]:
    """A component's class, its checked options, and its section with all defaults filled in."""
    try:
        cls = catalogue().get(kind, section.name).load()
    except UserError as error:
        raise UserError(f"{error}{config.source(f'{key or kind}.name')}") from error.__cause__
    checked = _checked(cls, section.options, key or kind, config)
    return cls, checked, section.model_copy(update=checked.model_dump())


def _checked(cls: Any, options: Mapping[str, Any], key: str, config: ExperimentConfig) -> ComponentConfig:
    try:
        return cls.Config.model_validate(options)
    except ValidationError as error:
        raise explain(error, cls.Config, key, config._sources) from None
