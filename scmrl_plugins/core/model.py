"""The model: encoder, one backbone a modality, fusion, feed-forward, read-out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, Fused, ModelOutput
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from scmrl_plugins.core.config import ExperimentConfig


class AudioVisualModel(nn.Module):
    """``model(audio, visual) -> ModelOutput``.

    ``audio``, ``visual``: ``[B, C, H, W]``, or ``[B, T, C, H, W]`` for events. A modality that the fusion
    does not use may be none and is ignored. Raises ``UserError`` for a missing modality or a wrong shape.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        classes: Sequence[str],
        channels: Mapping[str, int],
        neuron: type[nn.Module],
        encoder: nn.Module,
        backbones: Mapping[str, nn.Module],
        fusion: nn.Module,
        readout: nn.Module,
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = tuple(classes)
        self.channels = dict(channels)
        self.neuron_type = neuron
        self.encoder = encoder
        self.backbones = nn.ModuleDict(backbones)
        self.fusion = fusion
        self.readout = readout

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the fusion uses."""
        return tuple(self.backbones)

    def forward(self, audio: Tensor | None = None, visual: Tensor | None = None) -> ModelOutput:
        given = {"audio": audio, "visual": visual}
        self._check(given)
        tokens = {name: backbone(self.encoder(given[name])) for name, backbone in self.backbones.items()}
        fused: Fused = self.fusion(tokens.get("audio"), tokens.get("visual"))
        fused.audio = self._feed_forward("audio", fused.audio)
        fused.visual = self._feed_forward("visual", fused.visual)
        return self.readout(fused)

    def _feed_forward(self, modality: str, stream: Tensor | None) -> Tensor | None:
        if stream is None or not hasattr(self.backbones[modality], "feed_forward"):
            return stream
        feed_forward: Callable[[Tensor], Tensor] = self.backbones[modality].feed_forward  # type: ignore[assignment]
        return feed_forward(stream)

    def _check(self, given: Mapping[str, Tensor | None]) -> None:
        size = self.config.model.image_size
        batch = set()
        for name in self.modalities:
            x = given[name]
            if x is None:
                raise UserError(f"fusion {self.config.fusion.name!r} needs {name}, and none was given")
            expected = (self.channels[name], size, size)
            if x.dim() not in (4, 5) or tuple(x.shape[-3:]) != expected:
                c, h, w = expected
                raise UserError(
                    f"{name} has shape {list(x.shape)}, this model takes [B, {c}, {h}, {w}] "
                    f"or [B, T, {c}, {h}, {w}]"
                )
            batch.add(x.shape[0])
        if len(batch) > 1:
            raise UserError(f"{' and '.join(MODALITIES)} have different batch sizes: {sorted(batch)}")
