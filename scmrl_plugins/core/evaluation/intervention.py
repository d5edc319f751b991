"""The fusion blocks of a model as they are called on a batch, and calls in which one direction is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Fused, Modality
from scmrl_plugins.core.model.audio_visual import AudioVisualModel


@dataclass(frozen=True)
class Direction:
    """What a ``stream`` takes from its ``partner`` in a fusion block.

    The result of the direction is the stream after the block, or the joint stream where the block returns one:
    the model predicts from that alone, and it takes something from each modality.
    """

    stream: Modality
    partner: Modality

    @property
    def name(self) -> str:
        return f"{self.stream}_from_{self.partner}"

    def call(self, block: nn.Module, own: Tensor, partner: Tensor) -> Fused:
        """The block with these streams."""
        streams = {self.stream: own, self.partner: partner}
        fused: Fused = block(streams["audio"], streams["visual"])
        return fused

    def present(self, fused: Fused) -> bool:
        """Whether a block that returned ``fused`` has a result of this direction."""
        return self._result(fused) is not None

    def result(self, fused: Fused) -> Tensor:
        """The result of the direction, ``[T, B, D, N]``."""
        result = self._result(fused)
        assert result is not None
        return result

    def _result(self, fused: Fused) -> Tensor | None:
        streams = {"audio": fused.audio, "visual": fused.visual}
        return streams[self.stream] if fused.joint is None else fused.joint

    def with_result(self, fused: Fused, result: Tensor) -> Fused:
        """``fused`` with another result of this direction."""
        changed: dict[str, Any] = {self.stream if fused.joint is None else "joint": result}
        return dataclasses.replace(fused, **changed)

    def residual(self, own: Tensor, fused: Fused) -> Tensor:
        """r: what the block adds to the stream, or the joint stream."""
        return difference(self.result(fused), own) if fused.joint is None else self.result(fused)

    def without(self, block: nn.Module, own: Tensor, partner: Tensor, fused: Fused) -> Tensor:
        """The result without the interaction: the stream before the block, or j(own, 0) for a joint stream j."""
        return own if fused.joint is None else self.result(self.call(block, own, torch.zeros_like(partner)))


DIRECTIONS = (Direction("audio", "visual"), Direction("visual", "audio"))


def difference(after: Tensor, before: Tensor) -> Tensor:
    """after - before, where they differ by more than rounding, else 0."""
    return torch.where(torch.isclose(after, before, rtol=1e-5, atol=1e-7), 0, after - before)


@dataclass(frozen=True)
class Call:
    """A call of a fusion block: the streams before it, and what it returned."""

    block: nn.Module
    before: Mapping[str, Tensor]
    fused: Fused


class Pass:
    """A batch through a model, ``logits [B, K]``, with the ``calls`` of its fusion blocks in their order."""

    def __init__(self, model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> None:
        self.model = model
        self.calls: list[Call] = []
        self.encoded = model.encode(**inputs)
        self.tokens = model.tokens(self.encoded, self._record)
        self.logits = model.predict(self.tokens, self._record).logits

    def _record(self, block: nn.Module, audio: Tensor | None, visual: Tensor | None) -> Fused:
        assert audio is not None
        assert visual is not None
        fused: Fused = block(audio, visual)
        self.calls.append(Call(block, {"audio": audio, "visual": visual}, fused))
        return fused

    def has(self, direction: Direction) -> bool:
        """Whether every block returns a result of the direction."""
        return all(direction.present(call.fused) for call in self.calls)

    def logits_with(self, direction: Direction, change: Callable[[int, Call, Tensor], Tensor]) -> Tensor:
        """The logits with a changed direction: ``change(number, call, own) -> result`` for each fusion block.

        ``own`` is the stream before the block, which earlier blocks may have changed. The other direction gives
        what it gave in this pass.
        """
        left = iter(enumerate(self.calls))

        def fuse(_block: nn.Module, audio: Tensor | None, visual: Tensor | None) -> Fused:
            number, call = next(left)
            own = {"audio": audio, "visual": visual}[direction.stream]
            assert own is not None
            return direction.with_result(call.fused, change(number, call, own))

        several = len(self.calls) > 1  # otherwise the tokens stay as they are
        tokens = self.model.tokens(self.encoded, fuse) if several else self.tokens
        return self.model.predict(tokens, fuse).logits
