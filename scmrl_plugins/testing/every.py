"""What components of every kind promise."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import torch
from pydantic import ValidationError
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import TAGS
from scmrl_plugins.core.system.private import TorchDispatchMode, tree_leaves
from scmrl_plugins.registry import GROUP, KINDS, UserError, catalogue
from scmrl_plugins.registry.catalogue import INLINE, Plugin
from scmrl_plugins.registry.errors import describe, near
from scmrl_plugins.testing.checks import MODULES, NotApplicableError, check, fail, require
from scmrl_plugins.testing.subject import BATCH, Subject, call, convert

RECOMPILATIONS = 64
"""How many variants of one function ``check_compiles`` lets dynamo compile; layers of each size take one."""


@check(*KINDS)
def check_registers_without_problems(subject: Subject) -> None:
    """The plugin is listed without a complaint."""
    plugin = subject.entry.plugin
    for broken in catalogue().broken:
        if (broken.name, broken.distribution) == (plugin.name, plugin.distribution):
            fail(broken.error)


@check(*KINDS)
def check_registration_imports_no_torch(subject: Subject) -> None:
    """Registering, which every command waits for, imports no torch; tried in a process of its own."""
    if subject.entry.plugin.distribution == INLINE:
        raise NotApplicableError("registered by hand, not by an installed plugin")
    require(
        not _imports_torch(subject.entry.plugin),
        "registering imports torch: register the target as a string and import torch in the target's module",
    )


@functools.cache
def _imports_torch(plugin: Plugin) -> bool:
    code = (
        "import sys; from importlib.metadata import entry_points; from scmrl_plugins.registry import discover\n"
        f"discover([p for p in entry_points(group={GROUP!r}) if p.name == {plugin.name!r}])\n"
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    require(done.returncode in (0, 3), f"registering in a new process fails: {done.stderr[-300:]}")
    return done.returncode == 3


@check(*KINDS)
def check_tags_are_known(subject: Subject) -> None:
    """``tags`` is a set of words from ``scmrl_plugins.core.interfaces.TAGS``."""
    declared: Any = (subject.cls if subject.kind == "dataset" else subject.build()).tags
    require(isinstance(declared, set | frozenset), f"tags is {type(declared).__name__}, and a set is asked for")
    for tag in sorted(declared - TAGS.keys()):
        fail(f"unknown tag {tag!r}{near(str(tag), TAGS)}; tags are {', '.join(TAGS)}")


@check(*KINDS)
def check_configuration_round_trip(subject: Subject) -> None:
    """The configuration written as TOML and read again is the same, and nobody can change it meanwhile."""
    config = subject.config()
    whole = ExperimentConfig.model_validate(subject.sections())
    try:
        again = ExperimentConfig.model_validate(tomllib.loads(layers.to_toml(whole)))
        section = getattr(again, subject.kind)
        options = (section[-1] if subject.kind == "loss" else section).options
        read = type(config).model_validate(options)
    except Exception as error:
        raise AssertionError(f"cannot be written as TOML and read again: {describe(error)}") from error
    require(read == config, f"{config!r} came back from TOML as {read!r}")
    for name in type(config).model_fields:
        try:
            setattr(config, name, getattr(config, name))
        except ValidationError:
            return
        fail("its Config can be changed: make it a subclass of ComponentConfig")


@check(*KINDS)
def check_unknown_setting_is_refused(subject: Subject) -> None:
    """A setting that the Config does not have is refused, not ignored."""
    try:
        subject.cls.Config.model_validate({**subject.fixture(), **subject.options, "no_such_setting": 1})
    except ValidationError:
        return
    fail("its Config takes settings that it does not have: make it a subclass of ComponentConfig")


@check(*MODULES)
def check_every_choice_runs(subject: Subject) -> None:
    """Every value of a switch or a choice gives a component that runs, or is refused by a ``UserError``."""
    config = subject.config()
    for name, value in _choices(type(config)):
        try:
            component = subject.build(config=type(config).model_validate({**config.model_dump(), name: value}))
            outputs = call(component, subject.inputs())
        except (UserError, ValidationError):  # the user sees what a Config refuses as a UserError
            continue
        except Exception as error:
            raise AssertionError(f"with {name} = {value!r} it fails: {describe(error)}") from error
        for where, tensor in outputs.items():
            require(bool(torch.isfinite(tensor).all()), f"with {name} = {value!r}, {where} is not finite")


def _choices(config: Any) -> Iterator[tuple[str, Any]]:
    for name, field in config.model_fields.items():
        annotation = field.annotation
        union = get_origin(annotation) in (Union, types.UnionType)  # of Literal["a"] | None it is Union
        options = get_args(annotation) if union else (annotation,)
        for option in options:
            if option is bool:
                yield from ((name, True), (name, False))
            elif get_origin(option) is Literal:
                yield from ((name, value) for value in get_args(option))


@check(*MODULES)
def check_state_dict_round_trip(subject: Subject) -> None:
    """Weights loaded into a second instance, drawn otherwise, give the same result."""
    first, second = subject.build(seed=1), subject.build(seed=2)
    inputs = subject.inputs()
    first.train()
    call(first, inputs)  # running statistics move away from their start
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _same(call(first.eval(), inputs), call(second.eval(), inputs), "after load_state_dict")


@check(*MODULES)
def check_moves_to_another_dtype(subject: Subject) -> None:
    """``component.double()`` computes in float64 from end to end."""
    inputs = convert(subject.inputs(), lambda t: t.double() if t.is_floating_point() else t)
    for name, tensor in call(subject.build().double(), inputs).items():
        require(tensor.dtype == torch.float64, f"{name} is {tensor.dtype} where the inputs are float64")


@check(*MODULES)
def check_moves_to_another_device(subject: Subject) -> None:
    """``component.to(device)`` computes there: on an accelerator, or where there is none on torch's ``meta``."""
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
    """Refuses operations across devices, as an accelerator does; ``meta`` takes weights that stayed behind."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        devices = sorted({tensor.device.type for tensor in given})
        name = func.overloadpacket.__name__
        if len(devices) > 1 and not name.startswith(("index", "copy_", "_to_copy")):
            raise RuntimeError(f"{name} of tensors on the devices {' and '.join(devices)}")
        return func(*args, **(kwargs or {}))


def _another_device() -> torch.device:
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("meta") if found is None else found


@check(*MODULES)
def check_deterministic_under_a_seed(subject: Subject) -> None:
    """One seed gives the same weights and the same result; unless ``stochastic``, so does any."""
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
    """A call leaves nothing behind that another one sees, whatever came between."""
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
    """What it is called with is not changed."""
    inputs = subject.inputs()
    kept = convert(inputs, Tensor.clone)
    call(subject.build(), inputs)
    require(len(_flat(inputs)) == len(_flat(kept)), "a tensor of its input is taken out or put in")
    for place, (before, after) in enumerate(zip(_flat(kept), _flat(inputs), strict=True)):
        require(torch.equal(before, after), f"tensor {place} of its input is changed in place")


def _flat(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    convert(value, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


@check(*MODULES, unless="no-compile")
def check_compiles(subject: Subject) -> None:
    """``torch.compile`` gives the same result and the same gradients; else tag it ``no-compile``."""
    from torch._dynamo import config as dynamo  # takes a second to import

    plain = _gradients(subject.build(), subject)
    torch.compiler.reset()
    try:
        # Beyond the limit dynamo would run the rest op by op, and the check would compare eager with eager.
        with dynamo.patch(recompile_limit=RECOMPILATIONS, fail_on_recompile_limit_hit=True):
            compiled = _gradients(torch.compile(subject.build(), backend=subject.compiler), subject)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise AssertionError(f"torch.compile fails, {type(error).__name__}: {reason}") from error
    finally:
        torch.compiler.reset()
    _same(plain, compiled, "when compiled", tolerance=1e-5)


def _gradients(component: Any, subject: Subject) -> dict[str, Tensor]:
    """The outputs, and the gradient of their sum with respect to every input and parameter."""
    leaves = convert(subject.inputs(), lambda t: t.requires_grad_() if t.is_floating_point() else t)
    outputs = call(component, leaves)
    found = dict(outputs)
    total = sum(tensor.sum() for tensor in outputs.values())
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
        named = [(f"tensor {place} of its input", leaf) for place, leaf in enumerate(_flat(leaves))]
        wanted = [*named, *component.named_parameters()]
        found |= {
            f"the gradient of {name.removeprefix('_orig_mod.')}": tensor.grad
            for name, tensor in wanted
            if tensor.grad is not None
        }
    return {name: tensor.detach() for name, tensor in found.items()}


def _same(first: dict[str, Tensor], second: dict[str, Tensor], when: str, tolerance: float = 0.0) -> None:
    """Without a tolerance to the bit, which holds for the same operations on the same layout alone."""
    require(first.keys() == second.keys(), f"returns {sorted(first)}, and {sorted(second)} {when}")
    for name, tensor in first.items():
        other = second[name]
        if tensor.shape != other.shape or not torch.allclose(tensor, other, tolerance, tolerance, equal_nan=True):
            fail(f"{name} differs {when}")
