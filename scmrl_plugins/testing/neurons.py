"""What a neuron promises."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Neuron
from scmrl_plugins.testing.checks import agree, check, fail, require
from scmrl_plugins.testing.subject import SEED, Subject, call


@check("neuron")
def check_one_time_step(subject: Subject) -> None:
    """The output has the input's shape, for T = 1 too, and for any shape behind time and batch."""
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
    return fail(f"puts out 0 alone, for inputs of up to {x.max().item():.0f}")


@check("neuron", unless="analogue")
def check_spikes_are_binary(subject: Subject) -> None:
    """The output is 0 or 1, and both for a large enough input, unless tagged ``analogue``."""
    x = _exciting(subject)
    for mode in (True, False):
        values = call(subject.build().train(mode), (x,))["output"].unique().tolist()
        require(set(values) <= {0.0, 1.0}, f"puts out {values[:5]}, and is not tagged analogue")
        require(len(values) == 2, f"puts out {values[0]} alone for an input of both signs")


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
    """The first half of a sequence alone gives the first half of the whole; the second differs by the state lost,
    unless the neuron is ``memoryless``.
    """
    component = subject.build().double().eval()
    x = _exciting(subject, steps=8).double()
    whole = component(x)
    if not agree(component(x[:4]), whole[:4]):
        fail("the first half of a sequence depends on the second: a step must see its past alone")
    same = agree(component(x[4:]), whole[4:])
    if "memoryless" in subject.tags:
        require(same, "tagged memoryless, but the second half depends on the first")
    else:
        require(not same, "the second half does not depend on the first: is it memoryless?")


@check("neuron")
def check_step_equation(subject: Subject) -> None:
    """``single_step``, from no state on, gives what a call gives."""
    component = subject.build().double().eval()
    has_step = type(component).single_step is not Neuron.single_step
    require(has_step, "has no single_step(x, state=None) -> (spikes, state), its equation for one step")
    x = _exciting(subject).double()
    with torch.no_grad():
        whole = call(component, (x,))["output"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            state = None
            for t, current in enumerate(x):
                spikes, state = component.single_step(current, state)
                if not agree(spikes, whole[t]):
                    fail(f"step {t} by single_step differs from that of the call")
