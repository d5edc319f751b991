"""What a loss promises."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.testing.checks import check, require
from scmrl_plugins.testing.subject import CHANNELS, CLASSES, Draw, Subject
from scmrl_plugins.testing.values import call, convert


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What a loss is called with: a ``ModelOutput`` with every field set, and labels ``[B]``."""
    aligned = {name: draw.normal(draw.steps, draw.batch, draw.dims) for name in CHANNELS}
    heads = {name: draw.normal(draw.batch, len(CLASSES)) for name in CHANNELS}
    step_logits = draw.normal(draw.steps, draw.batch, len(CLASSES))
    share = draw.uniform(draw.batch)
    output = ModelOutput(
        step_logits.mean(0),
        heads,
        aligned,
        step_logits,
        {"audio": share, "visual": 1 - share},
        draw.uniform(5),
    )
    return (output, torch.arange(draw.batch) % len(CLASSES))


def _finite_scalar(subject: Subject, inputs: tuple[object, ...], of: str) -> Tensor:
    output = call(subject.build(), inputs)
    require(list(output) == ["output"], f"returns {sorted(output)}, expected one scalar")
    loss = output["output"]
    require(loss.dim() == 0, f"returns {list(loss.shape)} for {of}, expected a scalar")
    require(bool(torch.isfinite(loss)), f"is {loss.item()} for {of}")
    return loss


@check("loss")
def check_finite_scalar(subject: Subject) -> None:
    """A batch gives a finite scalar."""
    _finite_scalar(subject, subject.inputs(), "a batch")


@check("loss")
def check_empty_batch(subject: Subject) -> None:
    """An empty batch, which the last one of a worker may be, gives a finite scalar."""
    _finite_scalar(subject, subject.inputs(batch=0), "an empty batch")


@check("loss")
def check_one_class_batch(subject: Subject) -> None:
    """A batch of one sample or of one class gives a finite scalar."""
    output, target = subject.inputs()
    _finite_scalar(subject, (output, torch.zeros_like(target)), "a batch of one class")
    _finite_scalar(subject, subject.inputs(batch=1), "a batch of one sample")


@check("loss")
def check_half_precision(subject: Subject) -> None:
    """Outputs in float16 and bfloat16 give a finite scalar with finite gradients."""
    for dtype in (torch.float16, torch.bfloat16):
        leaves = convert(subject.inputs(), functools.partial(_leaf, dtype))
        loss = _finite_scalar(subject, leaves, f"{dtype} outputs")
        if loss.requires_grad:  # else check_loss_has_gradients says so
            loss.backward()
        _check_gradients(leaves, f"for {dtype} outputs")


@check("loss")
def check_loss_has_gradients(subject: Subject) -> None:
    """At least one tensor of the model's output gets a gradient that is not zero, and all gradients are finite."""
    leaves = convert(subject.inputs(), lambda t: t.requires_grad_() if t.is_floating_point() else t)
    loss = _finite_scalar(subject, leaves, "a batch")
    require(loss.requires_grad, "does not depend on the model's output")
    loss.backward()
    require(_check_gradients(leaves, "for a batch"), "gives a gradient of zero to all of the model's output")


def _leaf(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return (10 * tensor).to(dtype).requires_grad_() if tensor.is_floating_point() else tensor


def _check_gradients(leaves: object, when: str) -> bool:
    """Whether any gradient is not zero; fails if one is not finite."""
    gradients: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        if tensor.grad is not None:
            gradients.append(tensor.grad)
        return tensor

    convert(leaves, collect)
    require(
        all(bool(torch.isfinite(gradient).all()) for gradient in gradients), f"a gradient is not finite {when}"
    )
    return any(bool(gradient.any()) for gradient in gradients)
