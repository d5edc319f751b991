"""The model: an encoder and a backbone for each modality, fusion, feed-forward, read-out."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from scmrl_plugins.core.interfaces import MODALITIES, Backbone, Fused, Fusion, ModelOutput
from scmrl_plugins.registry import UserError, catalogue

if TYPE_CHECKING:
    from scmrl_plugins.core.config.sections import ExperimentConfig

Fuse = Callable[[nn.Module, Tensor | None, Tensor | None], Fused]
"""Calls a fusion block: ``(block, audio [T, B, D, Na], visual [T, B, D, Nv]) -> Fused``."""


def apply(block: nn.Module, audio: Tensor | None, visual: Tensor | None) -> Fused:
    """``block(audio, visual)``."""
    fused: Fused = block(audio, visual)
    return fused


class AudioVisualModel(nn.Module, PyTorchModelHubMixin):
    """``model(audio, visual) -> ModelOutput``.

    ``audio``, ``visual``: images ``[B, C, H, W]``, or events ``[B, T, C, H, W]``. A modality that the fusion does
    not use may be none and is ignored. Raises ``UserError`` for a missing modality, a wrong shape, or values that
    are not finite, which spikes would hide.

    ``save_pretrained(FOLDER)`` writes a run with a model card, ``from_pretrained(FOLDER or REPO)`` loads one in
    evaluation mode, and ``push_to_hub(REPO)`` uploads one.
    """

    run: Path | None = None
    """The run that it was loaded from, whose results its model card has."""

    def __init__(
        self,
        config: ExperimentConfig,
        classes: Sequence[str],
        channels: Mapping[str, int],
        neuron: type[nn.Module],
        encoders: Mapping[str, nn.Module],
        backbones: Mapping[str, Backbone],
        fusion: Fusion,
        readout: nn.Module,
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = tuple(classes)
        self.channels = dict(channels)
        self.neuron_type = neuron
        self.encoders = nn.ModuleDict(encoders)
        self.backbones = nn.ModuleDict(backbones)
        self.fusion: Fusion = fusion
        self.readout = readout
        self._recording: list[RemovableHandle] = []
        self._rates: list[Tensor] = []

    # The runs know the models, not the other way round: what the mixin calls is found by its name.

    def _save_pretrained(self, save_directory: Path) -> None:
        pkgutil.resolve_name("scmrl_plugins.core.run.hub:save")(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> AudioVisualModel:
        return pkgutil.resolve_name("scmrl_plugins.core.run.directory:from_pretrained")(model_id, options)

    def generate_model_card(self, *_: Any, **measured: Any) -> Any:
        """The model card, see ``core.run.card``; ``license`` and ``energy`` as keywords."""
        return pkgutil.resolve_name("scmrl_plugins.core.run.hub:model_card")(self, **measured)

    def record_firing_rates(self, wanted: bool) -> None:
        """Switch ``ModelOutput.firing_rates`` on or off: the rate of every neuron layer, with gradients."""
        for handle in self._recording:
            handle.remove()
        layers = [module for module in self.modules() if isinstance(module, self.neuron_type)] if wanted else []
        self._recording = [layer.register_forward_hook(self._record) for layer in layers]

    def _record(self, _layer: nn.Module, _inputs: object, spikes: Tensor) -> None:
        self._rates.append(spikes.abs().mean())  # spikes may have a sign

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the fusion uses."""
        return tuple(self.backbones)

    def forward(self, audio: Tensor | None = None, visual: Tensor | None = None) -> ModelOutput:
        return self.predict(self.tokens(self.encode(audio, visual)))

    def encode(self, audio: Tensor | None = None, visual: Tensor | None = None) -> dict[str, Tensor]:
        """The encoded input of each modality that the fusion uses, ``[T, B, C, H, W]``."""
        given = {"audio": audio, "visual": visual}
        batch = self._check(given)
        self._rates.clear()
        return {name: self._encode(name, given[name], batch) for name in self.backbones}

    def tokens(self, encoded: Mapping[str, Tensor], fuse: Fuse = apply) -> dict[str, Tensor]:
        """The tokens of each backbone, ``[T, B, D, N]``. The blocks of ``fusion.between`` run between its stages.

        ``fuse`` calls each fusion block, so that streams can be recorded or changed; likewise in ``predict``.
        """
        tokens = self._tokens(encoded, fuse)
        for name, stream in tokens.items():
            shape = (self.config.model.steps, encoded[name].shape[1], self.config.model.embed_dims, None)
            self._expect("backbone", f"for {name} ", stream, shape)
        return tokens

    def predict(self, tokens: Mapping[str, Tensor], fuse: Fuse = apply) -> ModelOutput:
        """Fusion, feed-forward and read-out of the tokens ``[T, B, D, N]`` of each modality."""
        return self.read(self.fused(tokens, fuse))

    def fused(self, tokens: Mapping[str, Tensor], fuse: Fuse = apply) -> Fused:
        """The streams that the read-out sees: fusion and feed-forward of the tokens."""
        fused = fuse(self.fusion, tokens.get("audio"), tokens.get("visual"))
        self._check_fused(fused, next(iter(tokens.values())).shape[1])
        return self._feed_forward(fused, tokens)

    def read(self, fused: Fused) -> ModelOutput:
        """The read-out of the streams."""
        output = self.readout(fused)
        if not isinstance(output, ModelOutput):
            self._reject("readout", f"returned {_shown(output)}, expected a ModelOutput")
        batch = next(x for x in (fused.joint, *fused.streams()) if x is not None).shape[1]
        self._expect("readout", "as logits ", output.logits, (batch, len(self.classes)))
        if self._rates:
            output.firing_rates = torch.stack(self._rates)
            self._rates.clear()
        return output

    def _encode(self, modality: str, x: Tensor | None, batch: int) -> Tensor:
        steps, size = self.config.model.steps, self.config.model.image_size
        encoded = _run(self.encoders[modality], x)
        self._expect("encoder", f"for {modality} ", encoded, (steps, batch, self.channels[modality], size, size))
        return encoded

    def _tokens(self, encoded: Mapping[str, Tensor], fuse: Fuse) -> dict[str, Tensor]:
        between = list(self.fusion.between)
        if not between:
            backbones: Mapping[str, Any] = dict(self.backbones)
            return {name: _run(part, encoded[name], part.after_fusion) for name, part in backbones.items()}
        maps = dict(encoded)
        every: list[Any] = [backbone.stages for backbone in self.backbones.values()]
        stages = list(zip(*every, strict=True))
        for index, both in enumerate(stages):
            maps = {name: _run(stage, maps[name]) for name, stage in zip(maps, both, strict=True)}
            left = len(stages) - 1 - index
            if 0 < left <= len(between):
                flat = {name: x.flatten(3) for name, x in maps.items()}
                fused = fuse(between[-left], flat["audio"], flat["visual"])
                streams: dict[str, Any] = {"audio": fused.audio, "visual": fused.visual}
                maps = {name: streams[name].unflatten(3, x.shape[3:]) for name, x in maps.items()}
        return {name: x.flatten(3) for name, x in maps.items()}

    def _check_fused(self, fused: Fused, batch: int) -> None:
        if not isinstance(fused, Fused):
            self._reject("fusion", f"returned {_shown(fused)}, expected a Fused")
        streams = {"audio": fused.audio, "visual": fused.visual, "joint": fused.joint}
        if all(stream is None for stream in streams.values()):
            self._reject("fusion", "returned a Fused without a stream")
        shape = (self.config.model.steps, batch, self.config.model.embed_dims, None)
        for name, stream in streams.items():
            if stream is not None:
                self._expect("fusion", f"as {name} ", stream, shape)
        for name, residual in fused.residuals.items():
            self._expect("fusion", f"as the residual of {name} ", residual, shape)

    def _expect(self, kind: str, role: str, value: Tensor, shape: tuple[int | None, ...]) -> None:
        """Report a component that returns another shape; none in ``shape`` stands for any size."""
        fits = isinstance(value, Tensor) and value.dim() == len(shape)
        if not fits or any(want not in (None, have) for want, have in zip(shape, value.shape, strict=True)):
            wanted = ", ".join("N" if want is None else str(want) for want in shape)
            self._reject(kind, f"returned {role}{_shown(value)}, expected [{wanted}]")

    def _reject(self, kind: str, complaint: str) -> NoReturn:
        entry = catalogue().get(kind, self.config.section(kind).name)
        raise UserError(f"{entry} {complaint}; {entry.plugin.remedy}")

    def _feed_forward(self, fused: Fused, tokens: Mapping[str, Tensor]) -> Fused:
        """``fused`` after the backbones' feed-forward, with the unimodal streams if the read-out uses them."""
        readout: Any = self.readout
        streams = {"audio": fused.audio, "visual": fused.visual}
        unimodal = {}
        for name, stream in streams.items():
            backbone: Any = self.backbones[name] if stream is not None else None
            if stream is not None and readout.reads_unimodal:
                # In one call, so that batch norm has the statistics of both.
                both = backbone.feed_forward(torch.cat([stream, tokens[name]], dim=1))
                streams[name], unimodal[name] = both.split(stream.shape[1], dim=1)
            elif stream is not None:
                streams[name] = backbone.feed_forward(stream)
        return dataclasses.replace(fused, audio=streams["audio"], visual=streams["visual"], unimodal=unimodal)

    def _check(self, given: Mapping[str, Tensor | None]) -> int:
        """The batch size; ``UserError`` if the inputs do not fit the model."""
        size = self.config.model.image_size
        sizes = []
        for name in self.modalities:
            x = given[name]
            if x is None:
                raise UserError(f"fusion {self.config.fusion.name!r} needs {name}, but none was given")
            c = self.channels[name]
            if x.dim() not in (4, 5) or tuple(x.shape[-3:]) != (c, size, size):
                raise UserError(
                    f"{name} has shape {list(x.shape)}, this model takes [B, {c}, {size}, {size}] "
                    f"or [B, T, {c}, {size}, {size}]"
                )
            # The sum is one pass over x. Where it is traced or has no values, there is nothing to look at.
            readable = x.device.type != "meta" and not torch.compiler.is_compiling()
            if readable and not x.sum(dtype=torch.float32).isfinite():
                samples = (~x.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
                raise UserError(
                    f"{name} has values that are not finite, in sample {samples[0]}: correct the input"
                )
            sizes.append(x.shape[0])
        if any(size != sizes[0] for size in sizes):  # no set: sizes are symbols where the model is exported
            raise UserError(f"{' and '.join(MODALITIES)} have different batch sizes: {sorted(sizes)}")
        return sizes[0]


def _run(module: nn.Module, x: Any, unused: Sequence[nn.Module] = ()) -> Tensor:
    """``module(x)``, as in inference if nothing in it learns, which is faster.

    That is the case if neither x nor a parameter needs a gradient, those of the ``unused`` submodules aside.
    """
    others = {id(parameter) for part in unused for parameter in part.parameters()}
    learns = any(parameter.requires_grad and id(parameter) not in others for parameter in module.parameters())
    if not learns and not (isinstance(x, Tensor) and x.requires_grad):
        with torch.no_grad():
            return module(x)
    return module(x)


def _shown(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
