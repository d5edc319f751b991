"""A right component of each kind, and for every check some that are wrong in just that way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core import interfaces
from scmrl_plugins.core.interfaces import (
    MODALITIES,
    ComponentConfig,
    Context,
    Fused,
    Modality,
    ModelConfig,
    ModelOutput,
)
from scmrl_plugins.registry import Entry, UserError, catalogue
from scmrl_plugins.registry.catalogue import Plugin
from scmrl_plugins.testing import Subject

if TYPE_CHECKING:
    import datasets

PLUGIN = Plugin("wrong", "scmrl-wrong", "1.0")
THRESHOLD = 0.5


class Fire(torch.autograd.Function):
    """H(u), with the derivative of a triangle."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return grads[0] * (1 - u.abs()).clamp_(min=0)


class Neuron(nn.Module):
    """v[t] = v[t-1] / 2 + x[t], s[t] = H(v[t] - threshold), reset to zero."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        state = None
        spikes = []
        for current in x:
            s, state = self.step(current, state)
            spikes.append(s)
        return torch.stack(spikes)

    def single_step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.step(x, state)

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        v = x if state is None else 0.5 * state + x
        s = self.fire(v)
        return s, v * (1 - s.detach())

    def fire(self, v: Tensor) -> Tensor:
        return Fire.apply(v - THRESHOLD)


class Encoder(nn.Module):
    """x > 0 in every step; a static input comes back as a view."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 5:
            return self.events(x)
        return self.encode(x).expand(self.steps, *x.shape)

    def events(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


class Backbone(nn.Module):
    """One linear map of patches of 8 x 8; the feed-forward is another, with a residual."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        assert context.modality is not None
        self.steps, self.modality = context.steps, context.modality
        self.patches = nn.Conv2d(context.channels[context.modality], context.embed_dims, 8, stride=8)
        self.further = nn.Linear(context.embed_dims, context.embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x.flatten(0, 1)).flatten(2).unflatten(0, x.shape[:2])

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.further(tokens.transpose(2, 3)).transpose(2, 3)


class Fusion(nn.Module):
    """a' = a + W mean_N(v), v' = v + W mean_N(a)."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps
        self.exchange = nn.Linear(context.embed_dims, context.embed_dims)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        residuals = {"audio": self.residual(audio, visual), "visual": self.residual(visual, audio)}
        return Fused(audio + residuals["audio"], visual + residuals["visual"], residuals)

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return self.exchange(other.mean(3)).unsqueeze(3).expand_as(x)


class Readout(nn.Module):
    """Linear(mean of everything), and one further head a modality."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps
        self.head = nn.Linear(context.embed_dims, context.num_classes)

    def forward(self, fused: Fused) -> ModelOutput:
        streams = {name: s for name, s in (("audio", fused.audio), ("visual", fused.visual)) if s is not None}
        heads = {name: self.head(stream.mean((0, 3))) for name, stream in streams.items()}
        aligned = {name: residual.mean(3) for name, residual in fused.residuals.items()}
        return ModelOutput(torch.stack([*heads.values()]).sum(0), heads, aligned)


class Loss(nn.Module):
    """mean_i |softmax(logits_i) - y_i|^2, and 0 for no samples."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        logits = output.logits
        wanted = F.one_hot(target, logits.shape[1]).to(logits.dtype)
        return (logits.softmax(1) - wanted).square().sum() / max(1, len(target))


class Rows:
    """Noise in memory, two samples a class and split; it has no fixture."""

    class Config(ComponentConfig):
        folder: str = "nowhere"

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    classes: ClassVar[tuple[str, ...]] = ("one", "two", "three")
    channels: ClassVar[Mapping[str, int]] = {"audio": 1, "visual": 2}
    counts: ClassVar[Mapping[str, int]] = {"train": 6, "validation": 6, "test": 6}

    def __init__(self, config: Any, model: ModelConfig) -> None:
        self.config, self.size = config, model.image_size

    def columns(self, split: str) -> dict[str, Any]:
        rng, count = np.random.default_rng(len(split)), self.counts[split]
        shapes = {name: (count, channels, self.size, self.size) for name, channels in self.channels.items()}
        return {
            **{name: rng.normal(size=shape).tolist() for name, shape in shapes.items()},
            "label": [i % 3 for i in range(count)],
            "id": [f"{split}-{i}" for i in range(count)],
        }

    def splits(self) -> datasets.DatasetDict:
        import datasets

        return datasets.DatasetDict(
            {split: datasets.Dataset.from_dict(self.columns(split)) for split in self.counts}
        )

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.asarray(rows[name], dtype=np.float32) for name in MODALITIES}

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        given = {"audio": audio, "visual": visual}
        return {name: None if path is None else self.read_one(path) for name, path in given.items()}

    def read_one(self, path: Path) -> Any:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        return np.load(path).tolist()


class Dataset(Rows):
    """The same with a fixture: the folder holds a mark, without which there are no rows."""

    def splits(self) -> datasets.DatasetDict:
        if not (Path(self.config.folder) / "mark").exists():
            raise UserError(f"{self.config.folder}: no data there; set dataset.folder")
        return super().splits()

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        (folder / "mark").touch()
        return {"folder": str(folder)}


RIGHT: dict[str, type] = {
    "neuron": Neuron,
    "encoder": Encoder,
    "backbone": Backbone,
    "fusion": Fusion,
    "readout": Readout,
    "loss": Loss,
    "dataset": Dataset,
}


@dataclass(frozen=True)
class Wrong:
    """A component, the checks that must fail of it, and some words that each then says."""

    kind: str
    cls: type
    says: Mapping[str, str]
    others: bool
    """Whether further checks fail, because nothing about it works."""


WRONG: list[Wrong] = []


def fails(*, others: bool = False, **says: str) -> Callable[[type], type]:
    """Class decorator: these checks fail, without their ``check_``, and say so in these words."""

    def add(cls: type) -> type:
        bases = {**RIGHT, "dataset": Rows}
        kind = next(kind for kind, base in bases.items() if issubclass(cls, base))
        WRONG.append(Wrong(kind, cls, {f"check_{name}": words for name, words in says.items()}, others))
        return cls

    return add


def subject_of(kind: str, cls: type, **settings: Any) -> Subject:
    """A component of this module, or of a test's, as if a plugin ``wrong`` had registered it."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return Subject(Entry(kind, cls.__name__, target, "wrong", PLUGIN, cls), **settings)


# Every kind: tags and configuration


@fails(tags_are_known="did you mean 'stochastic'")
class MisspeltTag(Neuron):
    tags = frozenset({"stochastik"})


@fails(tags_are_known="tags is list")
class ListOfTags(Readout):
    tags = ("analogue",)

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.tags = ["analogue"]


@fails(tags_are_known="unknown tag 'speech'")
class TagOfADataset(Dataset):
    tags = frozenset({"speech"})


@fails(configuration_round_trip="can be changed")
class ChangeableConfig(Loss):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        weight: float = 1.0


@fails(configuration_round_trip="came back from TOML as", saved_and_loaded="configuration of the opened run")
class ValidatedTwice(Encoder):
    class Config(ComponentConfig):
        gain: float = 1.0

        @field_validator("gain")
        @classmethod
        def double(cls, value: float) -> float:
            return 2 * value


@fails(
    configuration_round_trip="cannot be written as TOML and read again",
    saved_and_loaded="valid tuple",
    renamed_plugin_is_explained="valid tuple",
)
class TupleInAList(Dataset):
    class Config(Dataset.Config):
        sizes: tuple[int, ...] = (1, 2)


@fails(unknown_setting_is_refused="takes settings that it does not have")
class IgnoresSettings(Fusion):
    class Config(BaseModel):
        model_config = ConfigDict(frozen=True)


@fails(unknown_setting_is_refused="takes settings that it does not have")
class KeepsSettings(Dataset):
    class Config(Dataset.Config):
        model_config = ConfigDict(extra="allow")


@fails(every_choice_runs="with norm = 'rms', output is not finite")
class BadChoice(Backbone):
    class Config(ComponentConfig):
        norm: Literal["none", "rms"] = "none"

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.norm = config.norm

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens / 0 if self.norm == "rms" else tokens


@fails(every_choice_runs="with gated = True it fails: KeyError")
class ChoiceThatRaises(Fusion):
    class Config(ComponentConfig):
        gated: bool = False

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.gated:
            raise KeyError("gate")


@fails(every_choice_runs="with kind = 'huber' it fails: NotImplementedError")
class OptionalChoiceThatRaises(Loss):
    class Config(ComponentConfig):
        kind: Literal["huber", "square"] | None = None

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.kind == "huber":
            raise NotImplementedError


class RefusedChoices(Fusion):
    """Right: one choice is refused by the component and one by its Config."""

    class Config(ComponentConfig):
        gated: bool = False
        order: Literal["audio", "visual", "both"] = "audio"

        @model_validator(mode="after")
        def fits(self) -> RefusedChoices.Config:
            if self.order == "both" and not self.gated:
                raise ValueError("order both takes a gate")
            return self

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.order == "visual":
            raise UserError("visual first is not here")


# Every torch module: weights, dtype, device, seed, state, inputs


@fails(state_dict_round_trip="output differs after load_state_dict")
class ThresholdNotInStateDict(Neuron):
    def __init__(self, config: Any, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.offset = torch.rand(())

    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v - self.offset)


@fails(state_dict_round_trip="differs after load_state_dict")
class StatisticsNotInStateDict(Backbone):
    mean = 0.0

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * tokens.mean().item()
            return tokens
        return tokens - self.mean

    tags = frozenset({"no-compile"})


@fails(state_dict_round_trip="differs after load_state_dict", saved_and_loaded="of the model opened again differs")
class GainNotSaved(Fusion):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.gain = np.random.default_rng().uniform()

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return self.gain * super().residual(x, other)


@fails(moves_to_another_dtype="output is torch.float32 where the inputs are float64")
class SinglePrecisionSpikes(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v).float()


@fails(moves_to_another_dtype="output is torch.float32 where the inputs are float64")
class SinglePrecisionLoss(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).float()


@fails(
    moves_to_another_dtype="RuntimeError",
    moves_to_another_device="a tensor stays behind: mm of tensors on the devices",
    batch_permutation="RuntimeError",
)
class FixedProjection(Fusion):
    """A matrix that is no buffer moves nowhere; ``meta`` alone would not mind a product with it."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.projection = torch.eye(context.embed_dims)

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        rotated = (other.mean(3).flatten(0, 1) @ self.projection).unflatten(0, other.shape[:2])
        return super().residual(x, rotated.unsqueeze(3))


@fails(moves_to_another_device="a tensor stays behind")
class BiasStaysBehind(Neuron):
    def __init__(self, config: Any, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.bias = torch.zeros(1)

    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v + self.bias)


@fails(moves_to_another_device="output.aux_logits.further is on cpu, the inputs are on")
class HeadOnTheCPU(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits["further"] = torch.zeros(*output.logits.shape, dtype=output.logits.dtype)
        return output


class NeedsValues(Backbone):
    """Right, but what it does depends on values, which ``meta`` has none of."""

    tags = frozenset({"no-compile"})

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.any() else x + 1)


@fails(deterministic_under_a_seed="further.weight differs in two builds under one seed")
class WeightsWithoutASeed(Backbone):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.further.weight.data += torch.from_numpy(np.random.default_rng().normal(size=(16, 16))).float()


@fails(
    deterministic_under_a_seed="differs in two calls under one seed",
    state_dict_round_trip="differs after load_state_dict",
    no_state_between_calls="differs after another call",
    saved_and_loaded="of the model opened again differs",
    batch_permutation="depends on the order of the batch",
)
class NoiseOfItsOwn(Fusion):
    tags = frozenset({"no-compile"})

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) + float(np.random.default_rng().normal())


@fails(deterministic_under_a_seed="under another seed, and it is not tagged stochastic")
class NoiseWithoutATag(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + torch.randn((), dtype=output.logits.dtype, device=output.logits.device)
        return output


@fails(
    deterministic_under_a_seed="under another seed, and it is not tagged stochastic",
    batch_permutation="depends on the order of the batch",
)
class RateWithoutATag(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < x.sigmoid()).to(x.dtype)


class TaggedRate(RateWithoutATag):
    """Right: it says that it is stochastic."""

    tags = frozenset({"stochastic"})


@fails(
    no_state_between_calls="after another call, train mode",
    deterministic_under_a_seed="in two calls under one seed",
    state_dict_round_trip="differs after load_state_dict",
    halves="the first half of a sequence depends on the second",
    batch_permutation="depends on the order of the batch",
)
class KeepsItsMembrane(Neuron):
    """As BrainCog's own neurons do until somebody resets them."""

    state: Tensor | None = None
    tags = frozenset({"no-compile"})

    def forward(self, x: Tensor) -> Tensor:
        fits = self.state is not None and self.state.shape == x.shape[1:]
        state = self.state if fits else None
        spikes = []
        for current in x:
            s, state = self.step(current, state)
            spikes.append(s)
        self.state = state.detach()
        return torch.stack(spikes)


@fails(no_state_between_calls="after another call, train mode")
class KeepsItsMembraneInTraining(KeepsItsMembrane):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else Neuron.forward(self, x)


@fails(
    no_state_between_calls="after another call, eval mode", batch_permutation="depends on the order of the batch"
)
class RemembersTheLastBatch(Encoder):
    """Its first call after another batch is right again, so that two calls alike do not tell."""

    seen: Tensor | None = None
    tags = frozenset({"no-compile"})

    def encode(self, x: Tensor) -> Tensor:
        shown = super().encode(x)
        if self.training or x.is_meta:
            return shown
        changed = self.seen is not None and self.seen.shape == x.shape and not torch.equal(self.seen, x)
        self.seen = x.clone()
        return 1 - shown if changed else shown


@fails(inputs_are_left_alone="tensor 1 of its input is changed in place")
class ClampsInPlace(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        visual.detach().clamp_(max=0.5)
        return super().forward(audio, visual)


@fails(
    inputs_are_left_alone="tensor 9 of its input is changed in place",
    works_in_a_model="modified by an inplace operation",
)
class ChangesTheTarget(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        target.clamp_(max=1)
        return super().forward(output, target)


@fails(inputs_are_left_alone="is added to its input or removed", deterministic_under_a_seed="output.aligned.audio")
class EmptiesItsInput(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        residuals = {name: fused.residuals.pop(name) for name in list(fused.residuals)}
        return super().forward(Fused(fused.audio, fused.visual, residuals))


@fails(compiles="output differs when compiled")
class OtherWhenCompiled(Neuron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x if torch.compiler.is_compiling() else x)


@fails(compiles="the gradient of tensor 0 of its input differs when compiled")
class OtherGradientWhenCompiled(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        found = super().residual(x, other)
        return 2 * found - found.detach() if torch.compiler.is_compiling() else found


@torch.compiler.allow_in_graph
def _through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().float().numpy().copy())


@fails(compiles="torch.compile fails, ", moves_to_another_device="numpy")
class RaisesWhenCompiled(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + 0 * _through_numpy(output.logits).sum()


@fails(works_in_a_model="the loss of a model with it is nan")
class FailsForThree(Fusion):
    """Three is the batch of ``check_works_in_a_model`` alone."""

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) * (math.nan if x.shape[1] == 3 else 1)


@fails(works_in_a_model="in a model with it is not finite")
class GradientFailsForThree(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens + (0 * tokens).sqrt() if x.shape[1] == 3 else tokens


@fails(
    works_in_a_model="no parameter of a model with it learns",
    streams_get_gradients="the gradient of audio is zero everywhere",
)
class LearnsNothing(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return ModelOutput(0 * output.logits, aligned=output.aligned)


@fails(saved_and_loaded="share memory", renamed_plugin_is_explained="share memory")
class TiedWeights(Backbone):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.again = nn.Linear(context.embed_dims, context.embed_dims)
        self.again.weight.data = self.further.weight.data


@fails(renamed_plugin_is_explained="must be called 'wrong'")
class KnowsItsPluginsName(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        plugins = {entry.plugin.name for entry in catalogue().entries if entry.component is type(self)}
        if plugins - {"wrong"}:
            raise UserError("the plugin must be called 'wrong'")


# Neurons


@fails(one_time_step="for an input of [1, 2, 5] the output is [2, 5]")
class Squeezes(Neuron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(0)


@fails(one_time_step="IndexError")
class FourDimensionsOnly(Neuron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(2, 3)).transpose(2, 3)


@fails(spikes_are_binary="outputs [0.0, 2.0], and is not tagged analogue")
class TallSpikes(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return 2 * super().fire(v)


@fails(spikes_are_binary="and is not tagged analogue")
class AnalogueInEvaluation(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) if self.training else v.relu()


class TaggedAnalogue(AnalogueInEvaluation):
    """Right: it says so."""

    tags = frozenset({"analogue"})


@fails(
    spikes_are_binary="outputs only 1.0 for an input of both signs",
    halves="the second half does not depend on the first",
)
class AlwaysFires(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) + super().fire(2 * THRESHOLD - v).detach() * 0 + (v <= THRESHOLD).to(v.dtype)


@fails(
    spikes_are_binary="outputs only 0 for inputs of up to",
    halves="outputs only 0",
    step_equation="outputs only 0",
)
class NeverFires(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) - super().fire(v).detach()


@fails(surrogate_gradient="no gradient reaches the input")
class NoSurrogate(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return (v > THRESHOLD).to(v.dtype)


@fails(surrogate_gradient="is zero everywhere")
class FlatSurrogate(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v).detach() + 0 * v


@fails(
    surrogate_gradient="the input's gradient is not finite",
    works_in_a_model="in a model with it is not finite",
)
class InfiniteSurrogate(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) + (0 * v).sqrt().nan_to_num()


@fails(
    halves="depends on the second: a step must see its past alone",
    step_equation="by single_step differs",
)
class SeesTheFuture(Neuron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


@fails(halves="is it memoryless?")
class MemorylessWithoutATag(Neuron):
    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().step(x, None)


class TaggedMemoryless(MemorylessWithoutATag):
    """Right: it says so."""

    tags = frozenset({"memoryless"})


@fails(halves="tagged memoryless, but the second half depends on the first")
class FalselyMemoryless(Neuron):
    tags = frozenset({"memoryless"})


@fails(step_equation="has no single_step(x, state=None)")
class NoSingleStep(Neuron):
    single_step = interfaces.Neuron.single_step


@fails(step_equation="step 1 by single_step differs from that of the call")
class ForgetfulStep(Neuron):
    def single_step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.step(x, None)


@fails(batch_permutation="depends on the other samples of the batch")
class ThresholdOfTheBatch(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v - v.mean(0))


# Encoders


@fails(encoded_shape="the output is [3, 4, 1, 16, 16], expected [3, 4, 3, 16, 16]")
class GreyEncoder(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(1, keepdim=True) if x.dim() == 4 and x.shape[1] == 3 else x)


@fails(range="is not tagged analogue")
class AnalogueEncoder(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class TaggedAnalogueEncoder(AnalogueEncoder):
    """Right: it says so."""

    tags = frozenset({"analogue"})


@fails(range="the output is not finite")
class ConstantIsDividedByZero(Encoder):
    tags = frozenset({"analogue"})

    def encode(self, x: Tensor) -> Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return (x - low) / (high - low)


@fails(batch_permutation="output of a sample depends on the other samples of the batch")
class RangeOfTheBatch(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return (x > 0.5 * x.max()).to(x.dtype)


@fails(views_equal_copies="a view and its copy are encoded differently")
class LooksAtStrides(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x if x.is_contiguous() else -x)


@fails(views_equal_copies="view size is not compatible")
class NeedsContiguousInput(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x.view(-1)).view(x.shape)


@fails(events_pass_through="events [B, T, ...] are not returned as [T, B, ...]")
class EventsKeepTheirOrder(Encoder):
    def events(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).flip(0)


@fails(events_pass_through="ValueError: images alone")
class RefusesEvents(Encoder):
    def events(self, x: Tensor) -> Tensor:
        raise ValueError("images alone")


# Backbones


@fails(tokens_of_each_modality="feed_forward turns [3, 4, 16, 4] into [3, 4, 16, 1]")
class PoolsInFeedForward(Backbone):
    def feed_forward(self, tokens: Tensor) -> Tensor:
        return super().feed_forward(tokens).mean(3, keepdim=True)


@fails(
    tokens_of_each_modality="visual tokens are [3, 4, 4, 16], expected [3, 4, 16, N]",
    works_in_a_model="returned for visual",
    saved_and_loaded="returned for visual",
)
class TransposedTokens(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens.transpose(2, 3) if self.modality == "visual" else tokens


@fails(input_gets_gradients="the input gets no gradient")
class DetachedInput(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@fails(input_gets_gradients="the gradient of the input is zero everywhere")
class InputTimesZero(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach() + 0 * x)


@fails(input_gets_gradients="the gradient of the input is not finite")
class InfiniteInputGradient(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + (0 * x).sqrt())


@fails(batch_permutation="depends on the other samples of the batch")
class MinusTheBatchMean(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens - 0.5 * tokens.mean(1, keepdim=True)


@fails(any_number_of_steps="output is not finite for T = 1")
class DeviationOverTime(Backbone):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens / (tokens.std(0, keepdim=True) + 1)


# Fusion blocks


@fails(others=True, fused_streams="returns tuple, expected a Fused")
class ReturnsATuple(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        fused = super().forward(audio, visual)
        return fused.audio, fused.visual


@fails(others=True, fused_streams="returns a Fused without a stream")
class NoStreams(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(None, None, super().forward(audio, visual).residuals)


@fails(fused_streams="the residual of audio is [3, 4, 16, 1], expected [3, 4, 16, 9]")
class PooledResiduals(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x[..., :1], other)


@fails(
    fused_streams="visual is [3, 4, 16, 1], expected [3, 4, 16, 9]",
    unequal_tokens="visual of [3, 4, 16, 4] became [3, 4, 16, 1]",
)
class PooledStream(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        fused = super().forward(audio, visual)
        return Fused(fused.audio, visual.mean(3, keepdim=True), fused.residuals)


@fails(modalities_get_gradients="visual gets no gradient")
class DetachedVision(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio, visual.detach())


@fails(modalities_get_gradients="the gradient of audio is zero everywhere")
class AudioTimesZero(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio.detach() + 0 * audio, visual)


@fails(
    modalities_get_gradients="the gradient of audio is not finite",
    works_in_a_model="in a model with it is not finite",
)
class InfiniteAudioGradient(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio + (0 * audio).sqrt(), visual)


@fails(unequal_tokens="must match the size of tensor b (4) at non-singleton dimension 3; raise a")
class AddsTokens(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, x + other)


@fails(
    unequal_tokens="UserError: equal numbers of tokens only; raise a UserError for them and tag it equal-tokens"
)
class RefusesWithoutATag(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        if x.shape != other.shape:
            raise UserError("equal numbers of tokens only")
        return super().residual(x, other)


class TaggedEqualTokens(RefusesWithoutATag):
    """Right: it says so."""

    tags = frozenset({"equal-tokens"})


@fails(unequal_tokens="tagged equal-tokens, but takes 9 audio tokens with 4 visual ones")
class TakesUnequalTokens(Fusion):
    tags = frozenset({"equal-tokens"})


@fails(unequal_tokens="raise a UserError for them")
class TaggedButAdds(AddsTokens):
    tags = frozenset({"equal-tokens"})


@fails(missing_modality="modalities is ('audio', 'smell')", others=True)
class SmellsToo(Fusion):
    modalities = ("audio", "smell")


class AudioAlone(Fusion):
    """Right: it uses one modality and says so."""

    modalities: ClassVar[tuple[Modality, ...]] = ("audio",)

    def forward(self, audio: Tensor, visual: Tensor | None) -> Fused:
        return Fused(audio + self.residual(audio, audio), None)


@fails(missing_modality="declares that it does not use visual, but the result differs without it")
class SecretlyLooks(AudioAlone):
    def forward(self, audio: Tensor, visual: Tensor | None) -> Fused:
        fused = super().forward(audio, visual)
        return fused if visual is None else Fused(fused.audio + self.residual(audio, visual), None)


@fails(batch_permutation="depends on the order of the batch")
class FirstSampleLeads(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) + other[:, :1].mean()


@fails(any_number_of_steps="has 3 time steps for T = 1")
class PadsToItsSteps(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        missing = max(0, self.steps - len(audio))
        return super().forward(*(F.pad(x, (0, 0) * 3 + (0, missing)) for x in (audio, visual)))


# Read-outs


@fails(others=True, logits="returns Tensor, expected a ModelOutput")
class ReturnsLogits(Readout):
    def forward(self, fused: Fused) -> Any:
        return super().forward(fused).logits


@fails(
    logits="logits is [4, 4], expected [4, 3]",
    one_stream_alone="audio alone gives [4, 4]",
    works_in_a_model="returned as logits [3, 4], expected [3, 3]",
    saved_and_loaded="returned as logits",
)
class OneClassTooMany(Readout):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.head = nn.Linear(context.embed_dims, context.num_classes + 1)


@fails(logits="visual is [4, 4], expected [4, 3]")
class WideFurtherHead(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits = {
            name: F.pad(logits, (0, 1)) for name, logits in output.aux_logits.items() if name == "visual"
        }
        return output


@fails(logits="aligned audio is [3, 4, 16, 9], expected [3, 4, 16]", works_in_a_model="similarity.py")
class AlignsTokens(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return ModelOutput(output.logits, output.aux_logits, dict(fused.residuals))


@fails(one_stream_alone="visual alone gives [4, 2]")
class AudioFirst(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return output if fused.audio is not None else ModelOutput(output.logits[:, :2])


@fails(one_stream_alone="'NoneType' object has no attribute")
class NeedsBothStreams(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * (fused.audio.sum((0, 2, 3)) + fused.visual.sum((0, 2, 3)))[:, None]
        return output


@fails(one_stream_alone="KeyError: 'audio'")
class NeedsResiduals(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * fused.residuals["audio"].mean()
        return output


class WithFurtherHeads(Readout):
    """It reads a joint stream and gives the required heads."""

    further_heads = True

    def __init__(self, config: Readout.Config, context: Context) -> None:
        super().__init__(config, context)
        self.wanted = context.heads

    def forward(self, fused: Fused) -> ModelOutput:
        plain = super().forward(fused)
        logits = plain.logits if fused.joint is None else self.head(fused.joint.mean((0, 3)))
        return ModelOutput(logits, {name: plain.aux_logits[name] for name in self.wanted}, plain.aligned)


@fails(joint_stream_and_heads="the prediction depends on more than the joint stream")
class DeafToTheJointStream(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + self.head(fused.streams()[0].mean((0, 3)))
        return output


@fails(joint_stream_and_heads="gives heads for ['audio']")
class OneHeadForTwo(WithFurtherHeads):
    def __init__(self, config: Readout.Config, context: Context) -> None:
        super().__init__(config, context)
        self.wanted = context.heads[:1]


@fails(joint_stream_and_heads="the head of audio does not see its stream")
class HeadsOfNobody(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits = {name: 0 * logits for name, logits in output.aux_logits.items()}
        return output


@fails(joint_stream_and_heads="the head of audio gives [4, 2]")
class NarrowHeads(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        if fused.joint is not None:
            output.aux_logits = {name: logits[:, :2] for name, logits in output.aux_logits.items()}
        return output


@fails(streams_get_gradients="visual gets no gradient")
class DetachedStream(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        return super().forward(
            Fused(fused.audio, None if fused.visual is None else fused.visual.detach(), fused.residuals)
        )


@fails(batch_permutation="output.logits of a sample depends on the other samples of the batch")
class LogitsOfTheBatch(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits - output.logits.mean(0)
        return output


@fails(any_number_of_steps="IndexError")
class LooksAtTheThirdStep(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * fused.streams()[0][2].mean()
        return output


# Losses


@fails(others=True, finite_scalar="returns ['output.total'], expected one scalar")
class ReturnsADict(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Any:
        return {"total": super().forward(output, target)}


@fails(others=True, finite_scalar="returns [4] for a batch, expected a scalar")
class LossOfEachSample(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).expand(len(target))


@fails(others=True, finite_scalar="output is float, expected tensors")
class ReturnsANumber(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Any:
        return super().forward(output, target).item()


@fails(
    finite_scalar="is nan for a batch",
    half_precision="is nan for torch.float16 outputs",
    loss_has_gradients="is nan for a batch",
    works_in_a_model="the loss of a model with it is nan",
)
class ManyClassesAreNotANumber(Loss):
    tags = frozenset({"no-compile"})

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss if len(target.unique()) < 2 else loss * math.nan


@fails(empty_batch="is nan for an empty batch")
class DividesByTheBatch(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)


@fails(one_class_batch="is inf for a batch of one class")
class DividesByTheSpread(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss / (target - target[0]).abs().sum() if len(target) else loss


@fails(one_class_batch="is nan for a batch of one sample")
class DeviationOfTheBatch(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss + output.logits.std(0).sum() if len(target) else loss


@fails(half_precision="is inf for torch.float16 outputs")
class ExponentialsOverflow(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + output.logits.exp().sum(1).log().sum()


@fails(half_precision="a gradient is not finite for torch.float16 outputs")
class HiddenOverflow(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        soft = torch.where(output.logits > 10, output.logits, output.logits.exp())
        return super().forward(output, target) + soft.mean(1).sum()


@fails(loss_has_gradients="does not depend on the model's output")
class DetachedLogits(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).detach()


@fails(loss_has_gradients="gives a gradient of zero to all of the model's output")
class CountsErrors(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return (output.logits.argmax(1) != target).to(output.logits.dtype).sum() + 0 * output.logits.sum()


@fails(
    loss_has_gradients="a gradient is not finite for a batch",
    half_precision="a gradient is not finite",
    works_in_a_model="in a model with it is not finite",
)
class RootOfZero(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + (0 * output.logits).square().sum().sqrt()


# Data sets


@fails(building_touches_no_file="FileNotFoundError")
class OpensItsFiles(Dataset):
    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        (Path(config.folder) / "mark").read_text()


@fails(building_touches_no_file="has 1 classes", rows_are_as_declared="a label of the train split is no class")
class OneClass(Dataset):
    classes = ("one",)


@fails(building_touches_no_file="names a class twice")
class OneNameForTwo(Dataset):
    classes = ("one", "two", "two")


@fails(building_touches_no_file="channels are of ['audio', 'smell', 'visual']")
class ThirdModality(Dataset):
    channels: ClassVar = {**Dataset.channels, "smell": 1}


@fails(fixture="has no fixture(folder)")
class NoFixture(Rows):
    pass


@fails(fixture="the fixture has no test samples")
class NoTestSamples(Dataset):
    counts: ClassVar = {"train": 6, "validation": 6, "test": 0}


@fails(fixture="the fixture has no validation samples")
class NoValidationSplit(Dataset):
    counts: ClassVar = {"train": 6, "test": 6}


@fails(rows_are_as_declared="the train rows have the columns", splits_are_disjoint="id")
class RowsWithoutIds(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        return {name: column for name, column in super().columns(split).items() if name != "id"}


@fails(rows_are_as_declared="a label of the train split is not an integer")
class FloatingLabels(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "label": [float(label) for label in columns["label"]]}


@fails(rows_are_as_declared="a label of the train split is no class")
class LabelsFromOne(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "label": [1 + label for label in columns["label"]]}


@fails(rows_are_as_declared="an id comes twice in the train split")
class OneIdForTwo(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "id": [f"{split}-{label}" for label in columns["label"]]}


@fails(splits_are_disjoint="the id of a validation sample is in the train split too")
class NumberedInEachSplit(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "id": [str(i) for i in range(len(columns["id"]))]}


@fails(splits_are_disjoint="the visual of a test sample is in the train split too")
class ImageInTwoSplits(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        if split == "test":
            columns["visual"][3] = super().columns("train")["visual"][1]
        return columns


class Images(Dataset):
    """Right: its rows hold pictures, which alike start and end in black."""

    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        pictures = np.random.default_rng(len(split)).integers(0, 255, (self.counts[split], 40, 40), np.uint8)
        pictures[:, :5] = pictures[:, -5:] = pictures[:, :, :5] = pictures[:, :, -5:] = 0
        return {**columns, "visual": list(pictures)}

    def splits(self) -> datasets.DatasetDict:
        import datasets

        features = datasets.Features(
            {
                "audio": datasets.Array3D((1, self.size, self.size), "float32"),
                "visual": datasets.Image(),
                "label": datasets.Value("int64"),
                "id": datasets.Value("string"),
            }
        )
        rows = {split: self.columns(split) for split in self.counts}
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_dict(columns, features=features) for split, columns in rows.items()}
        )

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        cut = [np.asarray(picture, np.float32)[None, :16, :16].repeat(2, 0) for picture in rows["visual"]]
        return {"audio": np.asarray(rows["audio"], np.float32), "visual": np.stack(cut)}


@fails(splits_are_disjoint="the visual of a validation sample is in the train split too")
class PictureInTwoSplits(Images):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        if split == "validation":
            columns["visual"][0] = super().columns("train")["visual"][5]
        return columns


class Arrays(Images):
    """Right: its rows hold arrays, which alike start and end in black."""

    def splits(self) -> datasets.DatasetDict:
        return super().splits().with_format("numpy", columns=["visual"], output_all_columns=True)


@fails(transform="turns a row into ['audio', 'label', 'visual']")
class TransformKeepsTheLabel(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {**super().transform(rows), "label": np.asarray(rows["label"])}


@fails(inputs="audio is float64, expected float32")
class DoublePrecision(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: array.astype(np.float64) for name, array in super().transform(rows).items()}


@fails(inputs="audio is [16, 16, 1], expected [1, 16, 16], or the same with T first")
class ChannelsLast(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.moveaxis(array, 1, -1) for name, array in super().transform(rows).items()}


@fails(inputs="audio is not finite")
class LogarithmOfNothing(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.where(array > 2, -np.inf, array) for name, array in super().transform(rows).items()}


@fails(transform="audio differs when the same rows are transformed again", pickles_to_workers="audio differs")
class RandomCrops(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        shift = np.float32(np.random.default_rng().normal())
        return {name: array + shift for name, array in super().transform(rows).items()}


@fails(transform="turns 4 rows into 3 arrays of audio", inputs="IndexError")
class LeavesARowOut(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: array[:3] for name, array in super().transform(rows).items()}


@fails(inputs="training differs under one seed of torch's generator")
class AugmentsWithNumpy(Dataset):
    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        shift = np.float32(np.random.default_rng().normal()) if training else np.float32(0)
        return {name: array + shift for name, array in stored.items()}


@fails(inputs="evaluation depends on the seed")
class AugmentsTheTest(Dataset):
    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        return {name: array + torch.randn(1).numpy() for name, array in stored.items()}


class Files(Dataset):
    """Its rows hold the bytes of arrays; it believes whatever they are."""

    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        for name in MODALITIES:
            held = np.asarray(columns[name], np.float32)
            columns[name] = [{"bytes": array.tobytes(), "path": f"{split}.npy"} for array in held]
        return columns

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        shapes = {name: (-1, channels, self.size, self.size) for name, channels in self.channels.items()}
        return {
            name: np.concatenate([self.decode(cell).reshape(shapes[name]) for cell in rows[name]])
            for name in MODALITIES
        }

    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        return np.frombuffer(cell["bytes"], np.float32)


@fails(a_bad_file_is_refused="ValueError")
class LeavesBadFilesToNumpy(Files):
    pass


@fails(a_bad_file_is_refused="accepts invalid audio")
class TakesAnything(Files):
    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        return np.frombuffer(cell["bytes"].ljust(1024 * 4, b"\0"), np.float32)[
            : 256 * (len(cell["bytes"]) // 1024 or 1)
        ]


@fails(a_bad_file_is_refused="does not name the file")
class SaysNotWhichIsBad(Files):
    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        if len(cell["bytes"]) % 1024:
            raise UserError("a file is bad")
        return super().decode(cell)


@fails(pickles_to_workers="cannot be sent to a worker")
class HoldsALambda(Dataset):
    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.scale = lambda x: x


@fails(pickles_to_workers="audio differs in the copy of a worker")
class ForgetsItsScale(Dataset):
    scale = 1.0

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.scale = 2.0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "scale"}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.float32(self.scale) * array for name, array in super().transform(rows).items()}


@fails(a_missing_file_is_refused="reads a audio file that does not exist")
class ReadsNothing(Dataset):
    def read_one(self, path: Path) -> Any:
        return np.zeros(()).tolist()


@fails(a_missing_file_is_refused="does not name the file")
class DoesNotSayWhich(Dataset):
    def read_one(self, path: Path) -> Any:
        raise UserError("a file is not there")


@fails(a_missing_file_is_refused="FileNotFoundError")
class LeavesItToNumpy(Dataset):
    def read_one(self, path: Path) -> Any:
        return np.load(path).tolist()


@fails(
    saved_and_loaded="modle: unknown key (did you mean 'model'?)", renamed_plugin_is_explained="modle: unknown key"
)
class MisspeltDefaults(Dataset):
    defaults: ClassVar = {"modle": {"steps": 3}}


class DefaultsOfTraining(Dataset):
    """Right: it recommends what a configuration does not set by itself."""

    defaults: ClassVar = {"train": {"clip_grad": 1.0}, "model": {"steps": 2}}


ALSO_RIGHT: list[tuple[str, type]] = [
    ("readout", WithFurtherHeads),
    ("fusion", RefusedChoices),
    ("fusion", AudioAlone),
    ("fusion", TaggedEqualTokens),
    ("encoder", TaggedRate),
    ("encoder", TaggedAnalogueEncoder),
    ("neuron", TaggedAnalogue),
    ("neuron", TaggedMemoryless),
    ("dataset", Images),
    ("dataset", Arrays),
    ("dataset", DefaultsOfTraining),
]
