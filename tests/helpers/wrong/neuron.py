"""A right neuron, and some that are wrong in one way each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core import interfaces
from scmrl_plugins.core.interfaces import ComponentConfig, Context
from wrong.register import fails

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


# Tags and configuration


@fails(tags_are_known="did you mean 'stochastic'")
class MisspeltTag(Neuron):
    tags = frozenset({"stochastik"})


# Weights, types, devices, seeds, state and inputs


@fails(state_dict_round_trip="output differs after load_state_dict")
class ThresholdNotInStateDict(Neuron):
    def __init__(self, config: Any, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.offset = torch.rand(())

    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v - self.offset)


@fails(moves_to_another_dtype="output is torch.float32 where the inputs are float64")
class SinglePrecisionSpikes(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v).float()


@fails(moves_to_another_device="a tensor stays behind")
class BiasStaysBehind(Neuron):
    def __init__(self, config: Any, context: Context | None = None) -> None:
        super().__init__(config, context)
        self.bias = torch.zeros(1)

    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v + self.bias)


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


@fails(compiles="output differs when compiled")
class OtherWhenCompiled(Neuron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x if torch.compiler.is_compiling() else x)


# What this kind promises


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
    passes_something_on="the output is the same for all samples",
    halves="the second half does not depend on the first",
)
class AlwaysFires(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) + super().fire(2 * THRESHOLD - v).detach() * 0 + (v <= THRESHOLD).to(v.dtype)


@fails(
    spikes_are_binary="outputs only 0 for inputs of up to",
    passes_something_on="the output is the same for all samples",
    halves="outputs only 0",
    step_equation="outputs only 0",
)
class NeverFires(Neuron):
    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v) - super().fire(v).detach()


@fails(passes_something_on="scale its input, or lower its default threshold", surrogate_gradient="zero everywhere")
class InMillivolts(Neuron):
    """Fires for an input of some tens, as of a membrane in millivolts; batch norm gives less."""

    def fire(self, v: Tensor) -> Tensor:
        return super().fire(v - 40)


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
    halves="depends on the second: a step may only depend on its past",
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
