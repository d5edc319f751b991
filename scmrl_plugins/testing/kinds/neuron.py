"""What a neuron promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Neuron
from scmrl_plugins.testing.checks import agree, check, fail, require
from scmrl_plugins.testing.subject import TOKENS, Draw, Subject
from scmrl_plugins.testing.values import SEED, call


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What a neuron is called with: ``x [T, B, D, N]`` of both signs."""
    return (3 * draw.normal(draw.steps, draw.batch, draw.dims, TOKENS),)


@check("neuron")
def check_one_time_step(subject: Subject) -> None:
    """The output has the shape of the input, for T = 1 too and for any axes after time and batch."""
    component = subject.build()
    for shape in ((subject.model.steps, 2, 5), (1, 2, 5), (1, 1, 3, 4, 4)):
        output = component(torch.randn(shape))
        require(tuple(output.shape) == shape, f"for an input of {list(shape)} the output is {list(output.shape)}")


def _exciting(subject: Subject, steps: int | None = None) -> Tensor:
    """An input ``[T, B, *]`` of both signs that makes the neuron fire somewhere; units differ by model."""
    (x,) = subject.inputs(steps=steps)
    for _ in range(4):
        if call(subject.build(), (x,))["output"].any():
            return x
        x = 10 * x
    return fail(f"outputs only 0 for inputs of up to {x.max().item():.0f}")


@check("neuron", unless="analogue")
def check_spikes_are_binary(subject: Subject) -> None:
    """The output is 0 or 1, and both occur for a large input."""
    x = _exciting(subject)
    for mode in (True, False):
        values = call(subject.build().train(mode), (x,))["output"].unique().tolist()
        require(set(values) <= {0.0, 1.0}, f"outputs {values[:5]}, and is not tagged analogue")
        require(len(values) == 2, f"outputs only {values[0]} for an input of both signs")


@check("neuron")
def check_passes_something_on(subject: Subject) -> None:
    """For currents as batch norm gives them, of mean 0 and deviation 1, samples differ in the output."""
    (x,) = subject.inputs()
    output = call(subject.build(), (x / 3,))["output"]
    same = torch.equal(output, output[:, :1].expand_as(output))
    require(not same, "the output is the same for all samples: scale its input, or lower its default threshold")


@check("neuron")
def check_surrogate_gradient(subject: Subject) -> None:
    """The input gets a gradient that is finite and not zero everywhere."""
    (x,) = subject.inputs()
    x.requires_grad_()
    output = call(subject.build(), (x,))["output"]
    require(output.requires_grad, "no gradient reaches the input: the spikes need a surrogate derivative")
    output.sum().backward()
    require(x.grad is not None and bool(torch.isfinite(x.grad).all()), "the input's gradient is not finite")
    require(x.grad is not None and bool(x.grad.any()), "the input's gradient is zero everywhere")


@check("neuron", unless="stochastic")
def check_halves(subject: Subject) -> None:
    """The first half of a sequence gives the first half of the output. The second half by itself gives another
    output, because the state is missing, unless the neuron is tagged ``memoryless``.
    """
    component = subject.build().double().eval()
    x = _exciting(subject, steps=8).double()
    spikes = component(x)
    if not agree(component(x[:4]), spikes[:4]):
        fail("the first half of a sequence depends on the second: a step may only depend on its past")
    same = agree(component(x[4:]), spikes[4:])
    if "memoryless" in subject.tags:
        require(same, "tagged memoryless, but the second half depends on the first")
    else:
        require(not same, "the second half does not depend on the first: is it memoryless?")


@check("neuron")
def check_step_equation(subject: Subject) -> None:
    """Calling ``single_step`` T times gives what one call gives."""
    component = subject.build().double().eval()
    has_step = type(component).single_step is not Neuron.single_step
    require(has_step, "has no single_step(x, state=None) -> (spikes, state), its equation for one step")
    x = _exciting(subject).double()
    with torch.no_grad():
        expected = call(component, (x,))["output"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            state = None
            for t, current in enumerate(x):
                spikes, state = component.single_step(current, state)
                if not agree(spikes, expected[t]):
                    fail(f"step {t} by single_step differs from that of the call")
