"""What backbones, fusion blocks and read-outs promise: they work on streams of tokens ``[T, B, D, N]``."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.config.layers import validate
from scmrl_plugins.core.interfaces import MODALITIES, Fused, Modality, ModelOutput
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.testing.checks import agree, check, fail, require
from scmrl_plugins.testing.saving import registered
from scmrl_plugins.testing.subject import BATCH, CHANNELS, CLASSES, TOKENS, Subject, call, convert, tensors

STEPS = (1, 2, 5)
BATCH_FIRST = ("output.logits", "output.aux_logits", "output.shares")
"""What has no time axis before that of the batch."""


@check("backbone")
def check_tokens_of_each_modality(subject: Subject) -> None:
    """Images of either modality become tokens ``[T, B, D, N]``; so does ``feed_forward`` keep them."""
    size, steps, dims = subject.model.image_size, subject.model.steps, subject.model.embed_dims
    for modality in MODALITIES:
        component = subject.build(modality=modality)
        tokens = component(torch.randn(steps, BATCH, CHANNELS[modality], size, size))
        fits = tokens.dim() == 4 and tuple(tokens.shape[:3]) == (steps, BATCH, dims)
        require(
            fits, f"{modality} tokens are {list(tokens.shape)}, and [{steps}, {BATCH}, {dims}, N] is asked for"
        )
        further = component.feed_forward(tokens)
        require(further.shape == tokens.shape, f"feed_forward makes {list(further.shape)} of {list(tokens.shape)}")


@check("fusion")
def check_fused_streams(subject: Subject) -> None:
    """A ``Fused`` comes back whose streams and residuals have their modality's shape ``[T, B, D, N]``."""
    inputs = subject.inputs()
    fused = subject.build()(*inputs)
    require(isinstance(fused, Fused), f"returns {type(fused).__name__}, and a Fused is asked for")
    require(bool(fused.streams()), "returns a Fused without a stream")
    streams = {"audio": fused.audio, "visual": fused.visual}
    for name, x in zip(MODALITIES, inputs, strict=True):
        for role, stream in (("", streams[name]), ("the residual of ", fused.residuals.get(name))):
            if stream is not None:
                fits = stream.shape == x.shape
                require(fits, f"{role}{name} is {list(stream.shape)}, and {list(x.shape)} is asked for")


@check("fusion")
def check_modalities_get_gradients(subject: Subject) -> None:
    """Each modality that the fusion uses gets a gradient, finite and not zero everywhere."""
    component = subject.build()
    leaves = convert(subject.inputs(), Tensor.requires_grad_)
    sum(tensor.sum() for tensor in call(component, leaves).values()).backward()  # type: ignore[union-attr]
    for name, x in zip(MODALITIES, leaves, strict=True):
        if name in _modalities(subject):
            _check_gradient(name, x)


@check("fusion")
def check_unequal_tokens(subject: Subject) -> None:
    """Na != Nv works, or is refused by a ``UserError`` where the fusion is tagged ``equal-tokens``."""
    audio, visual = subject.inputs(visual_tokens=4)
    refusing = "equal-tokens" in subject.tags
    try:
        fused = subject.build()(audio, visual)
    except Exception as error:
        if refusing and isinstance(error, UserError):
            return
        remedy = f"refuse them by a UserError{'' if refusing else ' and tag it equal-tokens'}"
        raise AssertionError(f"9 audio tokens with 4 visual ones fail: {describe(error)}; {remedy}") from error
    require(not refusing, "tagged equal-tokens, but takes 9 audio tokens with 4 visual ones")
    for name, stream, x in (("audio", fused.audio, audio), ("visual", fused.visual, visual)):
        if stream is not None:
            require(stream.shape == x.shape, f"{name} of {list(x.shape)} became {list(stream.shape)}")


@check("fusion")
def check_missing_modality(subject: Subject) -> None:
    """A modality that the fusion does not use may be none and changes nothing; one that it uses is asked for."""
    used = _modalities(subject)
    require(
        bool(used) and set(used) <= set(MODALITIES),
        f"modalities is {used!r}, and a part of {MODALITIES} is asked for",
    )
    component = subject.build().eval()
    inputs = dict(zip(MODALITIES, subject.inputs(), strict=True))
    whole = call(component, (inputs["audio"], inputs["visual"]))
    for name in MODALITIES:
        without: dict[str, Any] = {**inputs, name: None}
        if name not in used:
            alone = call(component, (without["audio"], without["visual"]))
            # To the bit: the same operations on the streams that it uses.
            same = all(torch.equal(alone[key], tensor) for key, tensor in whole.items())
            require(same, f"declares that it does not use {name}, but differs without it")
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
                require(
                    name in str(error), f"a model without {name} is refused by {error}, which does not name it"
                )
            else:
                fail(f"a model without {name} answers, though {name} is one of its modalities")


@check("readout")
def check_logits(subject: Subject) -> None:
    """A ``ModelOutput`` comes back: ``logits [B, K]``, further heads alike, what is aligned ``[T, B, D]``."""
    steps, dims = subject.model.steps, subject.model.embed_dims
    output = subject.build()(*subject.inputs())
    require(isinstance(output, ModelOutput), f"returns {type(output).__name__}, and a ModelOutput is asked for")
    for name, logits in {"logits": output.logits, **output.aux_logits}.items():
        fits = tuple(logits.shape) == (BATCH, len(CLASSES))
        require(fits, f"{name} is {list(logits.shape)}, and {[BATCH, len(CLASSES)]} is asked for")
    for name, aligned in (output.aligned or {}).items():
        fits = tuple(aligned.shape) == (steps, BATCH, dims)
        require(fits, f"aligned {name} is {list(aligned.shape)}, and {[steps, BATCH, dims]} is asked for")


@check("readout")
def check_one_stream_alone(subject: Subject) -> None:
    """The streams of a unimodal fusion are read as well, and residuals need not be there."""
    for name in MODALITIES:
        component = subject.build(modalities=(name,))
        stream = torch.randn(subject.model.steps, BATCH, subject.model.embed_dims, TOKENS)
        fused = Fused(stream if name == "audio" else None, stream if name == "visual" else None)
        output = component(fused)
        require(
            tuple(output.logits.shape) == (BATCH, len(CLASSES)), f"{name} alone gives {list(output.logits.shape)}"
        )


@check("readout", only="further_heads")
def check_joint_stream_and_heads(subject: Subject) -> None:
    """A joint stream predicts in place of both, and each head asked for is there and sees its stream."""
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
    _check_gradient("audio", fused.audio)
    _check_gradient("visual", fused.visual)


@check("neuron", "encoder", "backbone", "fusion", "readout", unless="stochastic")
def check_batch_permutation(subject: Subject) -> None:
    """Samples in another order, or one of them alone, give the same results: none looks at its neighbours."""
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
    """It works for any T, the model's own or another."""
    for steps in STEPS:
        for name, tensor in call(subject.build(), subject.inputs(steps=steps)).items():
            require(bool(torch.isfinite(tensor).all()), f"{name} is not finite for T = {steps}")
            if not name.startswith(BATCH_FIRST):
                require(tensor.shape[0] == steps, f"{name} has {tensor.shape[0]} time steps for T = {steps}")


@check("backbone")
def check_input_gets_gradients(subject: Subject) -> None:
    """The input gets a gradient, finite and not zero everywhere."""
    (x,) = convert(subject.inputs(), Tensor.requires_grad_)
    tensors(subject.build()(x))["output"].sum().backward()
    _check_gradient("the input", x)


def _modalities(subject: Subject) -> tuple[Modality, ...]:
    return tuple(subject.cls.modalities)


def _check_gradient(name: str, x: Tensor) -> None:
    require(x.grad is not None, f"{name} gets no gradient")
    assert x.grad is not None
    require(bool(torch.isfinite(x.grad).all()), f"the gradient of {name} is not finite")
    require(bool(x.grad.any()), f"the gradient of {name} is zero everywhere")
