"""What an encoder promises."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.testing.checks import agree, check, require
from scmrl_plugins.testing.subject import BATCH, Draw, Subject
from scmrl_plugins.testing.values import call


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What an encoder is called with: images ``[B, C, H, W]``."""
    return (draw.normal(draw.batch, 1, draw.size, draw.size),)


@check("encoder")
def check_encoded_shape(subject: Subject) -> None:
    """Images ``[B, C, H, W]`` of either modality become ``[T, B, C, H, W]``, for one or more channels."""
    size, steps = subject.model.image_size, subject.model.steps
    for modality, channels in itertools.product(MODALITIES, (1, 3)):
        output = call(subject.build(modality=modality), (torch.randn(BATCH, channels, size, size),))["output"]
        wanted = [steps, BATCH, channels, size, size]
        require(list(output.shape) == wanted, f"the output is {list(output.shape)}, expected {wanted}")


@check("encoder")
def check_range(subject: Subject) -> None:
    """The output is finite, and 0 or 1 unless tagged ``analogue``, for a constant input too."""
    (x,) = subject.inputs()
    for given in (x, torch.zeros_like(x), torch.ones_like(x), 1000 * x):
        output = call(subject.build(), (given,))["output"]
        require(bool(torch.isfinite(output).all()), "the output is not finite")
        if "analogue" not in subject.tags:
            values = output.unique().tolist()
            require(set(values) <= {0.0, 1.0}, f"outputs {values[:5]}, and is not tagged analogue")


@check("encoder")
def check_views_equal_copies(subject: Subject) -> None:
    """A broadcast view is encoded like its copy, and an output that is a view computes like its copy."""
    (x,) = subject.inputs(batch=1)
    view = x.double().expand(BATCH, *x.shape[1:])
    component = subject.build().double()
    encoded = call(component, (view,))["output"]
    copied = call(component, (view.clone(),))["output"]
    require(agree(encoded, copied), "a view and its copy are encoded differently")
    # Doubling is exact on every layout.
    require(torch.equal(2 * encoded, 2 * encoded.contiguous()), "the output and its copy compute differently")


@check("encoder")
def check_events_pass_through(subject: Subject) -> None:
    """Events ``[B, T, C, H, W]``, which already have time steps, are returned as ``[T, B, C, H, W]``."""
    size, steps = subject.model.image_size, subject.model.steps
    events = torch.randint(0, 2, (BATCH, steps, 2, size, size), generator=torch.Generator().manual_seed(0)).float()
    output = call(subject.build(), (events,))["output"]
    require(  # to the bit, as events pass without arithmetic
        torch.equal(output, events.transpose(0, 1)),
        "events [B, T, ...] are not returned as [T, B, ...]",
    )
