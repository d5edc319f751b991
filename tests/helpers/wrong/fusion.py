"""A right fusion block, and some that are wrong in one way each."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Modality
from scmrl_plugins.registry import UserError
from wrong.register import fails


class Fusion(nn.Module):
    """a' = a + W mean_N(v), v' = v + W mean_N(a)."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps
        self.exchange = nn.Linear(context.embed_dims, context.embed_dims)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        residuals = {"audio": self.residual(audio, visual), "visual": self.residual(visual, audio)}
        return Fused(audio + residuals["audio"], visual + residuals["visual"], residuals)

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return self.exchange(other.mean(3)).unsqueeze(3).expand_as(x)


# Tags and configuration


@fails(unknown_setting_is_refused="takes settings that it does not have")
class IgnoresSettings(Fusion):
    class Config(BaseModel):
        model_config = ConfigDict(frozen=True)


@fails(every_choice_runs="with gated = True it fails: KeyError")
class ChoiceThatRaises(Fusion):
    class Config(ComponentConfig):
        gated: bool = False

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.gated:
            raise KeyError("gate")


class RefusedChoices(Fusion):
    """Right: one choice is refused by the component and one by its Config."""

    class Config(ComponentConfig):
        gated: bool = False
        order: Literal["audio", "visual", "both"] = "audio"

        @model_validator(mode="after")
        def fits(self) -> RefusedChoices.Config:
            if self.order == "both" and not self.gated:
                raise ValueError("order both takes a gate")
            return self

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.order == "visual":
            raise UserError("visual first is not here")


# Weights, types, devices, seeds, state and inputs


@fails(state_dict_round_trip="differs after load_state_dict", saved_and_loaded="of the model opened again differs")
class GainNotSaved(Fusion):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.gain = np.random.default_rng().uniform()

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return self.gain * super().residual(x, other)


@fails(
    moves_to_another_dtype="RuntimeError",
    moves_to_another_device="a tensor stays behind: mm of tensors on the devices",
    batch_permutation="RuntimeError",
)
class FixedProjection(Fusion):
    """A matrix that is no buffer moves nowhere; ``meta`` alone would not mind a product with it."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.projection = torch.eye(context.embed_dims)

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        rotated = (other.mean(3).flatten(0, 1) @ self.projection).unflatten(0, other.shape[:2])
        return super().residual(x, rotated.unsqueeze(3))


@fails(
    deterministic_under_a_seed="differs in two calls under one seed",
    state_dict_round_trip="differs after load_state_dict",
    no_state_between_calls="differs after another call",
    saved_and_loaded="of the model opened again differs",
    batch_permutation="depends on the order of the batch",
)
class NoiseOfItsOwn(Fusion):
    tags = frozenset({"no-compile"})

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) + float(np.random.default_rng().normal())


@fails(inputs_are_left_alone="tensor 1 of its input is changed in place")
class ClampsInPlace(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        visual.detach().clamp_(max=0.5)
        return super().forward(audio, visual)


@fails(compiles="the gradient of tensor 0 of its input differs when compiled")
class OtherGradientWhenCompiled(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        found = super().residual(x, other)
        return 2 * found - found.detach() if torch.compiler.is_compiling() else found


@fails(works_in_a_model="the loss of a model with it is nan")
class FailsForThree(Fusion):
    """Three is the batch of ``check_works_in_a_model`` alone."""

    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) * (math.nan if x.shape[1] == 3 else 1)


# What this kind promises


@fails(others=True, fused_streams="returns tuple, expected a Fused")
class ReturnsATuple(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        fused = super().forward(audio, visual)
        return fused.audio, fused.visual


@fails(others=True, fused_streams="returns a Fused without a stream")
class NoStreams(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(None, None, super().forward(audio, visual).residuals)


@fails(fused_streams="the residual of audio is [3, 4, 16, 1], expected [3, 4, 16, 9]")
class PooledResiduals(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x[..., :1], other)


@fails(
    fused_streams="visual is [3, 4, 16, 1], expected [3, 4, 16, 9]",
    unequal_tokens="visual of [3, 4, 16, 4] became [3, 4, 16, 1]",
)
class PooledStream(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        fused = super().forward(audio, visual)
        return Fused(fused.audio, visual.mean(3, keepdim=True), fused.residuals)


@fails(modalities_get_gradients="visual gets no gradient")
class DetachedVision(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio, visual.detach())


@fails(modalities_get_gradients="the gradient of audio is zero everywhere")
class AudioTimesZero(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio.detach() + 0 * audio, visual)


@fails(
    modalities_get_gradients="the gradient of audio is not finite",
    works_in_a_model="in a model with it is not finite",
)
class InfiniteAudioGradient(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return super().forward(audio + (0 * audio).sqrt(), visual)


@fails(no_interaction="declares that nothing crosses, but output.audio depends on the other modality")
class InteractsAgainstItsWord(Fusion):
    interacts = False


@fails(unequal_tokens="must match the size of tensor b (4) at non-singleton dimension 3; raise a")
class AddsTokens(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, x + other)


@fails(
    unequal_tokens="UserError: equal numbers of tokens only; raise a UserError for them and tag it equal-tokens"
)
class RefusesWithoutATag(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        if x.shape != other.shape:
            raise UserError("equal numbers of tokens only")
        return super().residual(x, other)


class TaggedEqualTokens(RefusesWithoutATag):
    """Right: it says so."""

    tags = frozenset({"equal-tokens"})


@fails(unequal_tokens="tagged equal-tokens, but takes 9 audio tokens with 4 visual ones")
class TakesUnequalTokens(Fusion):
    tags = frozenset({"equal-tokens"})


@fails(unequal_tokens="raise a UserError for them")
class TaggedButAdds(AddsTokens):
    tags = frozenset({"equal-tokens"})


@fails(missing_modality="modalities is ('audio', 'smell')", others=True)
class SmellsToo(Fusion):
    modalities = ("audio", "smell")


class AudioAlone(Fusion):
    """Right: it uses one modality and says so."""

    modalities: ClassVar[tuple[Modality, ...]] = ("audio",)

    def forward(self, audio: Tensor, visual: Tensor | None) -> Fused:
        return Fused(audio + self.residual(audio, audio), None)


@fails(missing_modality="declares that it does not use visual, but the result differs without it")
class SecretlyLooks(AudioAlone):
    def forward(self, audio: Tensor, visual: Tensor | None) -> Fused:
        fused = super().forward(audio, visual)
        return fused if visual is None else Fused(fused.audio + self.residual(audio, visual), None)


@fails(batch_permutation="depends on the order of the batch")
class FirstSampleLeads(Fusion):
    def residual(self, x: Tensor, other: Tensor) -> Tensor:
        return super().residual(x, other) + other[:, :1].mean()


@fails(any_number_of_steps="has 3 time steps for T = 1")
class PadsToItsSteps(Fusion):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        missing = max(0, self.steps - len(audio))
        return super().forward(*(F.pad(x, (0, 0) * 3 + (0, missing)) for x in (audio, visual)))
