"""What a read-out promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES, Fused, ModelOutput
from scmrl_plugins.testing.checks import check, require, require_gradient
from scmrl_plugins.testing.subject import BATCH, CLASSES, TOKENS, Draw, Subject
from scmrl_plugins.testing.values import SEED, convert


def inputs(draw: Draw) -> tuple[Any, ...]:
    """What a read-out is called with: a ``Fused`` of spikes."""
    residuals = {"audio": draw.spikes(TOKENS), "visual": draw.spikes(draw.visual_tokens)}
    audio, visual = draw.spikes(TOKENS), draw.spikes(draw.visual_tokens)
    unimodal = {"audio": draw.spikes(TOKENS), "visual": draw.spikes(draw.visual_tokens)}
    return (Fused(audio, visual, residuals, unimodal=unimodal),)


@check("readout")
def check_logits(subject: Subject) -> None:
    """It returns a ``ModelOutput`` with ``logits`` and auxiliary logits ``[B, K]``, and ``aligned [T, B, D]``."""
    steps, dims = subject.model.steps, subject.model.embed_dims
    output = subject.build()(*subject.inputs())
    require(isinstance(output, ModelOutput), f"returns {type(output).__name__}, expected a ModelOutput")
    for name, logits in {"logits": output.logits, **output.aux_logits}.items():
        fits = tuple(logits.shape) == (BATCH, len(CLASSES))
        require(fits, f"{name} is {list(logits.shape)}, expected {[BATCH, len(CLASSES)]}")
    for name, aligned in (output.aligned or {}).items():
        fits = tuple(aligned.shape) == (steps, BATCH, dims)
        require(fits, f"aligned {name} is {list(aligned.shape)}, expected {[steps, BATCH, dims]}")


@check("readout")
def check_one_stream_alone(subject: Subject) -> None:
    """It works for a single modality, and without residuals."""
    for name in MODALITIES:
        component = subject.build(modalities=(name,))
        stream = torch.randn(subject.model.steps, BATCH, subject.model.embed_dims, TOKENS)
        streams = (stream if name == "audio" else None, stream if name == "visual" else None)
        fused = Fused(*streams, unimodal={name: stream})
        output = component(fused)
        require(
            tuple(output.logits.shape) == (BATCH, len(CLASSES)), f"{name} alone gives {list(output.logits.shape)}"
        )


@check("readout", only=lambda cls: cls.further_heads)
def check_joint_stream_and_heads(subject: Subject) -> None:
    """With ``further_heads``, the prediction depends on the joint stream only, and each head on its own stream."""
    component = subject.build(joint=True, heads=MODALITIES).eval()
    (fused,) = subject.inputs()
    fused.joint = torch.zeros_like(fused.audio)
    first = component(fused)
    fused.audio, fused.visual = fused.visual, fused.audio
    second = component(fused)
    require(set(first.aux_logits) == set(MODALITIES), f"gives heads for {sorted(first.aux_logits)}")
    # To the bit: the same weights on the same joint stream.
    require(torch.equal(first.logits, second.logits), "the prediction depends on more than the joint stream")
    for name in MODALITIES:
        logits = first.aux_logits[name]
        require(tuple(logits.shape) == (BATCH, len(CLASSES)), f"the head of {name} gives {list(logits.shape)}")
        require(not torch.equal(logits, second.aux_logits[name]), f"the head of {name} does not see its stream")


@check("readout")
def check_streams_get_gradients(subject: Subject) -> None:
    """Each stream gets a gradient from the logits, finite and not zero everywhere."""
    (fused,) = convert(subject.inputs(), Tensor.requires_grad_)
    subject.build()(fused).logits.square().sum().backward()
    require_gradient("audio", fused.audio)
    require_gradient("visual", fused.visual)


@check("readout")
def check_split(subject: Subject) -> None:
    """``split`` gives logits ``[B, K]`` of each modality that depend on its own feature only, or nothing."""
    component = subject.build().eval()
    generator = torch.Generator().manual_seed(SEED)
    features = {name: torch.randn(BATCH, subject.model.embed_dims, generator=generator) for name in MODALITIES}
    found = component.split(features)
    require(not found or set(found) == set(MODALITIES), f"the split has logits of {sorted(found)}")
    for name, logits in found.items():
        fits = tuple(logits.shape) == (BATCH, len(CLASSES))
        require(fits, f"the split of {name} is {list(logits.shape)}, expected {[BATCH, len(CLASSES)]}")
        others = {other: x if other == name else -x for other, x in features.items()}
        # To the bit: the same weights on the same feature.
        same = torch.equal(component.split(others)[name], logits)
        require(same, f"the split of {name} depends on the other modality")
