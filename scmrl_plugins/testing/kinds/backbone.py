"""What a backbone promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.testing.checks import check, require, require_gradient
from scmrl_plugins.testing.subject import BATCH, CHANNELS, Draw, Subject
from scmrl_plugins.testing.values import convert, tensors


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What a backbone is called with: ``x [T, B, C, H, W]``."""
    return (draw.normal(draw.steps, draw.batch, 1, draw.size, draw.size),)


@check("backbone")
def check_tokens_of_each_modality(subject: Subject) -> None:
    """Images of either modality become tokens ``[T, B, D, N]``, and ``feed_forward`` keeps their shape."""
    size, steps, dims = subject.model.image_size, subject.model.steps, subject.model.embed_dims
    for modality in MODALITIES:
        component = subject.build(modality=modality)
        tokens = component(torch.randn(steps, BATCH, CHANNELS[modality], size, size))
        fits = tokens.dim() == 4 and tuple(tokens.shape[:3]) == (steps, BATCH, dims)
        require(fits, f"{modality} tokens are {list(tokens.shape)}, expected [{steps}, {BATCH}, {dims}, N]")
        further = component.feed_forward(tokens)
        require(
            further.shape == tokens.shape, f"feed_forward turns {list(tokens.shape)} into {list(further.shape)}"
        )


@check("backbone")
def check_input_gets_gradients(subject: Subject) -> None:
    """The input gets a gradient, finite and not zero everywhere."""
    (x,) = convert(subject.inputs(), Tensor.requires_grad_)
    tensors(subject.build()(x))["output"].sum().backward()
    require_gradient("the input", x)


@check("backbone")
def check_after_fusion(subject: Subject) -> None:
    """The tokens do not depend on the modules in ``after_fusion``, which may learn if the rest is frozen."""
    component = subject.build()
    after = {id(parameter) for module in component.after_fusion for parameter in module.parameters()}
    tensors(component(*subject.inputs()))["output"].sum().backward()
    for name, parameter in component.named_parameters():
        used = parameter.grad is not None and id(parameter) in after
        require(not used, f"after_fusion has {name}, on which the tokens depend")
