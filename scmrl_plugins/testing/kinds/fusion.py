"""What a fusion block promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.config.layers import validate
from scmrl_plugins.core.interfaces import MODALITIES, Fused
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.testing.checks import check, fail, require, require_gradient
from scmrl_plugins.testing.saving import registered
from scmrl_plugins.testing.subject import CHANNELS, CLASSES, TOKENS, Draw, Subject
from scmrl_plugins.testing.values import call, convert


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What a fusion block is called with: two streams of spikes ``[T, B, D, N]``."""
    return (draw.spikes(TOKENS), draw.spikes(draw.visual_tokens))


@check("fusion")
def check_fused_streams(subject: Subject) -> None:
    """It returns a ``Fused``; streams and residuals have the shape ``[T, B, D, N]`` of their modality."""
    inputs = subject.inputs()
    fused = subject.build()(*inputs)
    require(isinstance(fused, Fused), f"returns {type(fused).__name__}, expected a Fused")
    require(bool(fused.streams()), "returns a Fused without a stream")
    streams = {"audio": fused.audio, "visual": fused.visual}
    for name, x in zip(MODALITIES, inputs, strict=True):
        for role, stream in (("", streams[name]), ("the residual of ", fused.residuals.get(name))):
            if stream is not None:
                fits = stream.shape == x.shape
                require(fits, f"{role}{name} is {list(stream.shape)}, expected {list(x.shape)}")


@check("fusion")
def check_modalities_get_gradients(subject: Subject) -> None:
    """Each modality that the fusion uses gets a gradient, finite and not zero everywhere."""
    component = subject.build()
    leaves = convert(subject.inputs(), Tensor.requires_grad_)
    sum(tensor.sum() for tensor in call(component, leaves).values()).backward()  # type: ignore[union-attr]
    for name, x in zip(MODALITIES, leaves, strict=True):
        if name in subject.cls.modalities:
            require_gradient(name, x)


@check("fusion")
def check_no_interaction(subject: Subject) -> None:
    """With ``interacts = False``, a modality's stream is the same whatever the other modality is."""
    component = subject.build().eval()
    if component.interacts:
        return
    given, others = (dict(zip(MODALITIES, subject.inputs(seed=seed), strict=True)) for seed in (0, 1))
    expected = call(component, (given["audio"], given["visual"]))
    for name in MODALITIES:
        changed = {**others, name: given[name]}
        found = call(component, (changed["audio"], changed["visual"]))
        for key in (f"output.{name}", "output.joint"):
            # To the bit: the same operations on the stream.
            same = key not in expected or torch.equal(found[key], expected[key])
            require(same, f"declares that nothing crosses, but {key} depends on the other modality")


@check("fusion")
def check_unequal_tokens(subject: Subject) -> None:
    """Na != Nv works; a fusion tagged ``equal-tokens`` raises a ``UserError``."""
    audio, visual = subject.inputs(visual_tokens=4)
    refusing = "equal-tokens" in subject.tags
    try:
        fused = subject.build()(audio, visual)
    except Exception as error:
        if refusing and isinstance(error, UserError):
            return
        remedy = f"raise a UserError for them{'' if refusing else ' and tag it equal-tokens'}"
        raise AssertionError(f"9 audio tokens with 4 visual ones fail: {describe(error)}; {remedy}") from error
    require(not refusing, "tagged equal-tokens, but takes 9 audio tokens with 4 visual ones")
    for name, stream, x in (("audio", fused.audio, audio), ("visual", fused.visual, visual)):
        if stream is not None:
            require(stream.shape == x.shape, f"{name} of {list(x.shape)} became {list(stream.shape)}")


@check("fusion")
def check_missing_modality(subject: Subject) -> None:
    """A modality that the fusion does not use may be none without effect; one that it uses is required."""
    used = subject.cls.modalities
    require(
        bool(used) and set(used) <= set(MODALITIES),
        f"modalities is {used!r}, expected a part of {MODALITIES}",
    )
    component = subject.build().eval()
    inputs = dict(zip(MODALITIES, subject.inputs(), strict=True))
    expected = call(component, (inputs["audio"], inputs["visual"]))
    for name in MODALITIES:
        without: dict[str, Any] = {**inputs, name: None}
        if name not in used:
            alone = call(component, (without["audio"], without["visual"]))
            # To the bit: the same operations on the streams that it uses.
            same = all(torch.equal(alone[key], tensor) for key, tensor in expected.items())
            require(same, f"declares that it does not use {name}, but the result differs without it")
    with registered(subject) as entry:
        sections = subject.sections(entry.qualified)
        model, _ = assemble_model(validate(sections), CLASSES, CHANNELS)
        size = subject.model.image_size
        images: dict[str, Tensor | None] = {
            name: torch.randn(2, CHANNELS[name], size, size) for name in MODALITIES
        }
        for name in used:
            try:
                model(**{**images, name: None})
            except UserError as error:
                require(name in str(error), f"the error for a model without {name} does not name it: {error}")
            else:
                fail(f"a model runs without {name}, which is one of its modalities")
