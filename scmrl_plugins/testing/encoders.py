"""What an encoder promises."""

from __future__ import annotations

import itertools

import torch

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.testing.checks import agree, check, require
from scmrl_plugins.testing.subject import BATCH, Subject, call


@check("encoder")
def check_encoded_shape(subject: Subject) -> None:
    """``[B, C, H, W]`` of either modality becomes ``[T, B, C, H, W]``, with one channel or several."""
    size, steps = subject.model.image_size, subject.model.steps
    for modality, channels in itertools.product(MODALITIES, (1, 3)):
        output = call(subject.build(modality=modality), (torch.randn(BATCH, channels, size, size),))["output"]
        wanted = [steps, BATCH, channels, size, size]
        require(list(output.shape) == wanted, f"the output is {list(output.shape)}, and {wanted} is asked for")


@check("encoder")
def check_range(subject: Subject) -> None:
    """The output is finite, and 0 or 1 unless tagged ``analogue``; for a constant input too."""
    (x,) = subject.inputs()
    for given in (x, torch.zeros_like(x), torch.ones_like(x), 1000 * x):
        output = call(subject.build(), (given,))["output"]
        require(bool(torch.isfinite(output).all()), "the output is not finite")
        if "analogue" not in subject.tags:
            values = output.unique().tolist()
            require(set(values) <= {0.0, 1.0}, f"puts out {values[:5]}, and is not tagged analogue")


@check("encoder")
def check_views_equal_copies(subject: Subject) -> None:
    """A broadcast view is encoded as its copy is, and an output that is a view holds what its copy holds."""
    (x,) = subject.inputs(batch=1)
    view = x.double().expand(BATCH, *x.shape[1:])
    component = subject.build().double()
    encoded = call(component, (view,))["output"]
    require(agree(encoded, call(component, (view.clone(),))["output"]), "a view is encoded unlike its copy")
    # Doubling is exact, on every layout.
    require(torch.equal(2 * encoded, 2 * encoded.contiguous()), "the output computes unlike its copy")


@check("encoder")
def check_events_pass_through(subject: Subject) -> None:
    """Events ``[B, T, C, H, W]``, which have their own time steps, come back as ``[T, B, C, H, W]``."""
    size, steps = subject.model.image_size, subject.model.steps
    events = torch.randint(0, 2, (BATCH, steps, 2, size, size), generator=torch.Generator().manual_seed(0)).float()
    output = call(subject.build(), (events,))["output"]
    require(  # to the bit, as events pass without arithmetic
        torch.equal(output, events.transpose(0, 1)),
        "events do not pass: [B, T, ...] must come back as [T, B, ...]",
    )
