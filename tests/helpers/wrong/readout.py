"""A right read-out, and some that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, ModelOutput
from wrong.register import fails


class Readout(nn.Module):
    """Linear(mean of everything), and one further head a modality."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps
        self.head = nn.Linear(context.embed_dims, context.num_classes)

    def forward(self, fused: Fused) -> ModelOutput:
        streams = {name: s for name, s in (("audio", fused.audio), ("visual", fused.visual)) if s is not None}
        heads = {name: self.head(stream.mean((0, 3))) for name, stream in streams.items()}
        aligned = {name: residual.mean(3) for name, residual in fused.residuals.items()}
        return ModelOutput(torch.stack([*heads.values()]).sum(0), heads, aligned)


# Tags and configuration


@fails(tags_are_known="tags is list")
class ListOfTags(Readout):
    tags = ("analogue",)

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.tags = ["analogue"]


# Weights, types, devices, seeds, state and inputs


@fails(moves_to_another_device="output.aux_logits.further is on cpu, the inputs are on")
class HeadOnTheCPU(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits["further"] = torch.zeros(*output.logits.shape, dtype=output.logits.dtype)
        return output


@fails(deterministic_under_a_seed="under another seed, and it is not tagged stochastic")
class NoiseWithoutATag(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + torch.randn((), dtype=output.logits.dtype, device=output.logits.device)
        return output


@fails(inputs_are_left_alone="is added to its input or removed", deterministic_under_a_seed="output.aligned.audio")
class EmptiesItsInput(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        residuals = {name: fused.residuals.pop(name) for name in list(fused.residuals)}
        return super().forward(Fused(fused.audio, fused.visual, residuals))


@fails(
    works_in_a_model="no parameter of a model with it learns",
    streams_get_gradients="the gradient of audio is zero everywhere",
)
class LearnsNothing(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return ModelOutput(0 * output.logits, aligned=output.aligned)


# What this kind promises


@fails(others=True, logits="returns Tensor, expected a ModelOutput")
class ReturnsLogits(Readout):
    def forward(self, fused: Fused) -> Any:
        return super().forward(fused).logits


@fails(
    logits="logits is [4, 4], expected [4, 3]",
    one_stream_alone="audio alone gives [4, 4]",
    works_in_a_model="returned as logits [3, 4], expected [3, 3]",
    saved_and_loaded="returned as logits",
)
class OneClassTooMany(Readout):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.head = nn.Linear(context.embed_dims, context.num_classes + 1)


@fails(logits="visual is [4, 4], expected [4, 3]")
class WideFurtherHead(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits = {
            name: F.pad(logits, (0, 1)) for name, logits in output.aux_logits.items() if name == "visual"
        }
        return output


@fails(logits="aligned audio is [3, 4, 16, 9], expected [3, 4, 16]", works_in_a_model="similarity.py")
class AlignsTokens(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return ModelOutput(output.logits, output.aux_logits, dict(fused.residuals))


@fails(one_stream_alone="visual alone gives [4, 2]")
class AudioFirst(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        return output if fused.audio is not None else ModelOutput(output.logits[:, :2])


@fails(one_stream_alone="'NoneType' object has no attribute")
class NeedsBothStreams(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * (fused.audio.sum((0, 2, 3)) + fused.visual.sum((0, 2, 3)))[:, None]
        return output


@fails(one_stream_alone="KeyError: 'audio'")
class NeedsResiduals(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * fused.residuals["audio"].mean()
        return output


@fails(split="the split of audio depends on the other modality")
class SplitOfBoth(Readout):
    def split(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: self.head(features["audio"] + features["visual"]) for name in features}


@fails(split="the split of audio is [4, 1], expected [4, 3]")
class SplitIntoOneClass(Readout):
    def split(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: self.head(x)[:, :1] for name, x in features.items()}


class WithFurtherHeads(Readout):
    """It reads a joint stream and gives the required heads."""

    further_heads = True

    def __init__(self, config: Readout.Config, context: Context) -> None:
        super().__init__(config, context)
        self.wanted = context.heads

    def forward(self, fused: Fused) -> ModelOutput:
        plain = super().forward(fused)
        logits = plain.logits if fused.joint is None else self.head(fused.joint.mean((0, 3)))
        return ModelOutput(logits, {name: plain.aux_logits[name] for name in self.wanted}, plain.aligned)


@fails(joint_stream_and_heads="the prediction depends on more than the joint stream")
class DeafToTheJointStream(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + self.head(fused.streams()[0].mean((0, 3)))
        return output


@fails(joint_stream_and_heads="gives heads for ['audio']")
class OneHeadForTwo(WithFurtherHeads):
    def __init__(self, config: Readout.Config, context: Context) -> None:
        super().__init__(config, context)
        self.wanted = context.heads[:1]


@fails(joint_stream_and_heads="the head of audio does not see its stream")
class HeadsOfNobody(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.aux_logits = {name: 0 * logits for name, logits in output.aux_logits.items()}
        return output


@fails(joint_stream_and_heads="the head of audio gives [4, 2]")
class NarrowHeads(WithFurtherHeads):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        if fused.joint is not None:
            output.aux_logits = {name: logits[:, :2] for name, logits in output.aux_logits.items()}
        return output


@fails(streams_get_gradients="visual gets no gradient")
class DetachedStream(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        return super().forward(
            Fused(fused.audio, None if fused.visual is None else fused.visual.detach(), fused.residuals)
        )


@fails(batch_permutation="output.logits of a sample depends on the other samples of the batch")
class LogitsOfTheBatch(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits - output.logits.mean(0)
        return output


@fails(any_number_of_steps="IndexError")
class LooksAtTheThirdStep(Readout):
    def forward(self, fused: Fused) -> ModelOutput:
        output = super().forward(fused)
        output.logits = output.logits + 0 * fused.streams()[0][2].mean()
        return output
