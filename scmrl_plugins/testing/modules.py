"""What every component that is a torch module promises."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.system.private import TorchDispatchMode, limit_recompilations, tree_leaves
from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.kinds import MODULES
from scmrl_plugins.testing.checks import NotApplicableError, agree, check, fail, require
from scmrl_plugins.testing.subject import BATCH, Subject
from scmrl_plugins.testing.values import call, convert

STEPS = (1, 2, 5)
RECOMPILATIONS = 64
"""The number of variants of a function that ``check_compiles`` allows dynamo; layers of each size take one."""
BATCH_FIRST = ("output.logits", "output.aux_logits", "output.shares")
"""Outputs without a time axis before that of the batch."""


@check(*MODULES)
def check_state_dict_round_trip(subject: Subject) -> None:
    """A second instance gives the same result once it has loaded the weights of the first."""
    first, second = subject.build(seed=1), subject.build(seed=2)
    inputs = subject.inputs()
    first.train()
    call(first, inputs)  # running statistics move away from their start
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _same(call(first.eval(), inputs), call(second.eval(), inputs), "after load_state_dict")


@check(*MODULES)
def check_moves_to_another_dtype(subject: Subject) -> None:
    """``component.double()`` computes in float64 throughout."""
    inputs = convert(subject.inputs(), lambda t: t.double() if t.is_floating_point() else t)
    for name, tensor in call(subject.build().double(), inputs).items():
        require(tensor.dtype == torch.float64, f"{name} is {tensor.dtype} where the inputs are float64")


@check(*MODULES)
def check_moves_to_another_device(subject: Subject) -> None:
    """``component.to(device)`` computes on that device: an accelerator, or torch's ``meta`` if there is none."""
    device = _another_device()
    inputs = convert(subject.inputs(), lambda t: t.to(device))
    try:
        with _OneDevice():
            outputs = call(subject.build().to(device), inputs)
    except (RuntimeError, NotImplementedError) as error:
        if device.type == "meta" and not any(word in str(error) for word in ("device", "Expected all tensors")):
            raise NotApplicableError(
                f"its result depends on values, so it takes a real accelerator: {error}"
            ) from None
        fail(f"a tensor stays behind: {error}")
    for name, tensor in outputs.items():
        require(tensor.device.type == device.type, f"{name} is on {tensor.device}, the inputs are on {device}")


class _OneDevice(TorchDispatchMode):
    """Refuses operations across devices, as an accelerator does; ``meta`` accepts weights on another device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        devices = sorted({tensor.device.type for tensor in given})
        name = func.overloadpacket.__name__
        if len(devices) > 1 and not name.startswith(("index", "copy_", "_to_copy")):
            raise RuntimeError(f"{name} of tensors on the devices {' and '.join(devices)}")
        return func(*args, **(kwargs or {}))


def _another_device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("meta")


@check(*MODULES)
def check_deterministic_under_a_seed(subject: Subject) -> None:
    """The same seed gives the same weights and result; so does any seed, unless it is tagged ``stochastic``."""
    first, second = subject.build(), subject.build()
    for name, tensor in first.state_dict().items():  # to the bit: the same draws, in the same order
        require(torch.equal(tensor, second.state_dict()[name]), f"{name} differs in two builds under one seed")
    inputs = subject.inputs()
    component = first.eval()
    once = call(component, inputs)
    _same(once, call(component, inputs), "in two calls under one seed")
    if "stochastic" not in subject.tags:
        _same(once, call(component, inputs, seed=7), "under another seed, and it is not tagged stochastic")


@check(*MODULES)
def check_no_state_between_calls(subject: Subject) -> None:
    """A call does not depend on the calls before it."""
    component = subject.build()
    for mode in (True, False):
        component.train(mode)
        once = call(component, subject.inputs())
        for batch in (BATCH, 2):  # a state may be dropped where the shape changes
            call(component, subject.inputs(seed=5, batch=batch))
            again = call(component, subject.inputs())
            _same(once, again, f"after another call, {'train' if mode else 'eval'} mode")


@check(*MODULES)
def check_inputs_are_left_alone(subject: Subject) -> None:
    """The inputs are not modified."""
    inputs = subject.inputs()
    kept = convert(inputs, Tensor.clone)
    call(subject.build(), inputs)
    require(len(_flat(inputs)) == len(_flat(kept)), "a tensor is added to its input or removed from it")
    for index, (before, after) in enumerate(zip(_flat(kept), _flat(inputs), strict=True)):
        require(torch.equal(before, after), f"tensor {index} of its input is changed in place")


@check("neuron", "encoder", "backbone", "fusion", "readout", unless="stochastic")
def check_batch_permutation(subject: Subject) -> None:
    """The result for a sample does not depend on the order of the batch or on the other samples."""
    component = subject.build().double().eval()
    inputs = convert(subject.inputs(), Tensor.double)
    plain = call(component, inputs)
    for order in ([2, 0, 3, 1], [1], [2]):
        change = "the order of the batch" if len(order) == BATCH else "the other samples of the batch"

        def pick(x: Tensor, axis: int, order: list[int] = order) -> Tensor:
            return x.index_select(axis, torch.tensor(order))

        given = convert(inputs, functools.partial(pick, axis=0 if subject.kind == "encoder" else 1))
        for name, tensor in call(component, given).items():
            axis = 0 if name.startswith(BATCH_FIRST) else 1
            require(agree(pick(plain[name], axis), tensor), f"{name} of a sample depends on {change}")


@check("backbone", "fusion", "readout")
def check_any_number_of_steps(subject: Subject) -> None:
    """It works for any number of time steps, the model's or another."""
    for steps in STEPS:
        for name, tensor in call(subject.build(), subject.inputs(steps=steps)).items():
            require(bool(torch.isfinite(tensor).all()), f"{name} is not finite for T = {steps}")
            if not name.startswith(BATCH_FIRST):
                require(tensor.shape[0] == steps, f"{name} has {tensor.shape[0]} time steps for T = {steps}")


@check(*MODULES, unless="no-compile")
def check_compiles(subject: Subject) -> None:
    """``torch.compile`` gives the same result and the same gradients; else tag it ``no-compile``."""
    plain = _gradients(subject.build(neuron=_relu), subject)
    torch.compiler.reset()
    try:
        # Without an error at the limit the check would compare eager with eager.
        with limit_recompilations(RECOMPILATIONS):
            component = subject.build(neuron=_relu)
            compiled = _gradients(torch.compile(component, backend=subject.compiler), subject)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise AssertionError(f"torch.compile fails, {type(error).__name__}: {reason}") from error
    finally:
        torch.compiler.reset()
    _same(plain, compiled, "when compiled", tolerance=1e-5)


def _relu(**_: Any) -> Any:
    """The neuron in a component that is compiled: one operation. Spiking neurons have this check themselves."""
    neuron = catalogue().get("neuron", "relu").load()
    return neuron(neuron.Config())


def _gradients(component: Any, subject: Subject) -> dict[str, Tensor]:
    """The outputs, and the gradient of their sum with respect to every input and parameter."""
    leaves = convert(subject.inputs(), lambda t: t.requires_grad_() if t.is_floating_point() else t)
    outputs = call(component, leaves)
    values = dict(outputs)
    total = sum(tensor.sum() for tensor in outputs.values())
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
        named = [(f"tensor {index} of its input", leaf) for index, leaf in enumerate(_flat(leaves))]
        wanted = [*named, *component.named_parameters()]
        values |= {
            f"the gradient of {name.removeprefix('_orig_mod.')}": tensor.grad
            for name, tensor in wanted
            if tensor.grad is not None
        }
    return {name: tensor.detach() for name, tensor in values.items()}


def _flat(value: Any) -> list[Tensor]:
    tensors: list[Tensor] = []
    convert(value, lambda tensor: tensors.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return tensors


def _same(first: dict[str, Tensor], second: dict[str, Tensor], when: str, tolerance: float = 0.0) -> None:
    """Without a tolerance to the bit, which holds for the same operations on the same layout alone."""
    require(first.keys() == second.keys(), f"returns {sorted(first)}, and {sorted(second)} {when}")
    for name, tensor in first.items():
        other = second[name]
        if tensor.shape != other.shape or not torch.allclose(tensor, other, tolerance, tolerance, equal_nan=True):
            fail(f"{name} differs {when}")
