"""The tokens of frozen encoders and backbones, computed once and kept: ``train.cache_tokens``.

Fusions that are trained from the same frozen weights, on the same samples and draws, share them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scmrl_plugins.core.data import cache
from scmrl_plugins.core.data.loading import Batch, Draw, EvaluationData, Loader, TrainingData, collate
from scmrl_plugins.core.data.store import digest, writing
from scmrl_plugins.core.evaluation.evaluate import trained_precision
from scmrl_plugins.core.interfaces import ModelOutput, cache_dir
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel, Fuse, apply
from scmrl_plugins.core.model.modes import evaluating
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError, catalogue

VERSION = 2
"""Counts up with every change of what is computed or written."""

HASHES = "hashes.json"
"""The hashes of an epoch's files by modality. It is written last."""

BATCH = 128
"""Samples that are computed together, always the same ones: rounding may depend on the batch."""

Samples = TrainingData | EvaluationData


class FromTokens(nn.Module):
    """``(audio, visual) -> ModelOutput`` of a model, from its tokens ``[B, T, N, D]`` instead of its inputs."""

    def __init__(self, model: AudioVisualModel) -> None:
        super().__init__()
        self.model = model
        self.config, self.classes, self.neuron_type = model.config, model.classes, model.neuron_type
        self.modalities = model.modalities

    @property
    def fusion(self) -> nn.Module:
        """The fusion of the model."""
        return self.model.fusion

    @property
    def readout(self) -> nn.Module:
        """The read-out of the model."""
        return self.model.readout

    def encode(self, **tokens: Tensor) -> dict[str, Tensor]:
        """The tokens in the layout of the model, ``[T, B, D, N]``."""
        ordered = {name: x.transpose(0, 1).contiguous().mT for name, x in tokens.items()}
        if self.config.model.layout != "channels-last":
            ordered = {name: x.contiguous() for name, x in ordered.items()}
        return ordered

    def tokens(self, encoded: Mapping[str, Tensor], fuse: Fuse = apply) -> dict[str, Tensor]:
        """``encoded``, which are tokens already: no fusion block runs between the stages."""
        del fuse
        return dict(encoded)

    def predict(self, tokens: Mapping[str, Tensor], fuse: Fuse = apply) -> ModelOutput:
        """As ``AudioVisualModel.predict``."""
        return self.model.predict(tokens, fuse)

    def forward(self, **tokens: Tensor) -> ModelOutput:
        return self.predict(self.encode(**tokens))


class TokenCache:
    """``loader(loader)`` reads what the frozen encoders and backbones of a model make of the samples.

    The frozen weights must not change any more. ``check`` the parts before.
    """

    def __init__(self, parts: Assembly, device: torch.device, progress: Progress) -> None:
        self.model, self.config = parts.model, parts.config
        self.device, self.progress = device, progress
        self.key = _key(parts, device)

    def loader(self, loader: Loader, epoch: int = 0) -> Loader:
        """``loader`` with tokens in place of inputs; those of the epoch are computed if they are missing."""
        data = loader.dataset
        folder = cache_dir() / "tokens" / digest(self.key, *data.identity)[:32]
        stored = self._read(folder, epoch)
        if stored is None:
            with writing(folder), files.waiting(folder / cache.LOCK, functools.partial(self._report, folder)):
                stored = self._read(folder, epoch)
                if stored is None:
                    self._compute(data, folder, epoch)
                    stored = self._read(folder, epoch)
        assert stored is not None
        return loader.reading(_TokenData(data, stored))

    def _report(self, folder: Path) -> None:
        self.progress.line(f"another process computes tokens in {folder}: waiting for it")

    def _read(self, folder: Path, epoch: int) -> dict[str, np.ndarray] | None:
        """The arrays ``[n, T, N, D]`` by modality, memory-mapped; those of any epoch where nothing is drawn.

        ``None`` if they are missing, or are not what was written, which a process verifies once.
        """
        for prefix in _prefixes(epoch):
            paths = {name: folder / f"{prefix}{name}.npy" for name in self.model.modalities}
            record = folder / f"{prefix}{HASHES}"
            with contextlib.suppress(OSError, ValueError):
                hashes = json.loads(record.read_text(encoding="utf-8"))
                if hashes == _hashes(paths):
                    cache.use(folder, self.config.dataset.name, [*paths.values(), record])
                    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}
        return None

    def _compute(self, data: Samples, folder: Path, epoch: int) -> None:
        """Write the tokens of all samples, as small integers if they are, like sums of spikes."""
        files.remove_partial(folder)
        if any((folder / f"{prefix}{HASHES}").exists() for prefix in _prefixes(epoch)):
            self.progress.line(f"{folder}: the stored tokens are damaged; they are computed again")
        try:
            self._write(data, folder, epoch, np.uint8)
        except _RoundedError:
            self._write(data, folder, epoch, np.float32)

    def _write(self, data: Samples, folder: Path, epoch: int, dtype: type[np.generic]) -> None:
        self.progress.stage("tokens", -(-len(data) // BATCH))
        drawn = False
        paths = {name: folder / f"{epoch}-{name}.npy" for name in self.model.modalities}
        with contextlib.ExitStack() as stack:
            temporary = {name: stack.enter_context(files.replacing(path)) for name, path in paths.items()}
            arrays: dict[str, np.memmap] = {}
            for start in range(0, len(data), BATCH):
                rows = [data.drawn(Draw(epoch, index)) for index in range(start, min(start + BATCH, len(data)))]
                drawn |= any(random for _, random in rows)
                for name, tokens in self._tokens(collate([row for row, _ in rows])).items():
                    if name not in arrays:
                        shape = (len(data), *tokens.shape[1:])
                        arrays[name] = np.lib.format.open_memmap(temporary[name], "w+", dtype, shape)
                    arrays[name][start : start + len(tokens)] = _exactly(tokens, dtype)
                self.progress.advance()
            for array in arrays.values():
                array.flush()
        prefix = f"{epoch}-" if drawn else ""  # one file for all epochs
        for name, path in paths.items():
            paths[name] = path.replace(folder / f"{prefix}{name}.npy")
        files.write_json(folder / f"{prefix}{HASHES}", _hashes(paths))

    @torch.no_grad()
    def _tokens(self, batch: Batch) -> dict[str, np.ndarray]:
        """``[B, T, N, D]`` by modality."""
        inputs = {name: batch[name].to(self.device) for name in self.model.modalities}
        with evaluating(self.model), trained_precision(self.model, self.device):
            tokens = self.model.tokens(self.model.encode(**inputs))
        return {name: x.float().transpose(0, 1).mT.cpu().numpy() for name, x in tokens.items()}


def _prefixes(epoch: int) -> tuple[str, str]:
    """What the names of the files of an epoch start with: nothing where they are those of all epochs."""
    return "", f"{epoch}-"


def _hashes(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: files.content_hash(path) for name, path in paths.items()}


class _RoundedError(Exception):
    """Tokens that a type cannot hold exactly."""


class _TokenData(torch.utils.data.Dataset):
    """The samples of an epoch with tokens in place of their inputs."""

    def __init__(self, data: Samples, tokens: Mapping[str, np.ndarray]) -> None:
        self.data, self.tokens = data, tokens

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        index = draw.sample if isinstance(draw, Draw) else draw
        tokens = {name: array[index].astype(np.float32) for name, array in self.tokens.items()}
        return {**tokens, **self.data.without_inputs(index)}


def _exactly(tokens: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        converted = tokens.astype(dtype)
    if not np.array_equal(converted.astype(np.float32), tokens, equal_nan=True):
        raise _RoundedError
    return converted


def check(parts: Assembly) -> None:
    """``UserError`` where the tokens of a sample depend on more than the sample, its draws and frozen weights."""
    model, config = parts.model, parts.config
    learning = [name for name in model.modalities if name not in config.train.freeze]
    drawing = [
        f"{kind} {config.section(kind).name!r}"
        for kind, components in _components(model).items()
        if any("stochastic" in component.tags for component in components)
    ]
    terms = zip(parts.loss.names, parts.loss.terms, strict=True)
    losses = [name for name, loss in terms if loss.needs_firing_rates]
    between = list(model.fusion.between)
    reasons = {
        f"{' and '.join(learning)} must be in train.freeze": learning,
        f"fusion {config.fusion.name!r} has blocks between the stages of the backbones": between,
        "data.mixup and data.event_mix mix inputs": config.data.mixup or config.data.event_mix,
        f"{' and '.join(drawing)} draws anew in every call": drawing,
        f"loss {' and '.join(map(repr, losses))} needs the firing rates of every layer": losses,
        f"modulation {config.modulation.name!r} balances how encoders learn": parts.modulation,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UserError(f"train.cache_tokens: {reason}; change that or leave train.cache_tokens out")


def _components(model: AudioVisualModel) -> dict[str, list[Any]]:
    """What computes the tokens, by kind."""
    return {
        "neuron": [model.neuron_type],
        "encoder": list(model.encoders.values()),
        "backbone": list(model.backbones.values()),
    }


def _key(parts: Assembly, device: torch.device) -> list[Any]:
    """All that the tokens depend on, but the samples."""
    config = parts.config
    sections = {kind: config.section(kind) for kind in (*_components(parts.model), "dataset")}
    entries = {kind: catalogue().get(kind, section.name) for kind, section in sections.items()}
    computed = environment.describe(config)
    return [
        VERSION,
        _weights(parts.model),
        {kind: [str(entries[kind]), entries[kind].plugin.version] for kind in sections},
        {kind: section.model_dump(mode="json") for kind, section in sections.items()},
        config.model.model_dump(mode="json"),
        config.data.model_dump(mode="json"),
        config.train.seed,
        config.train.precision,
        str(device),
        computed["packages"],
        computed["compile"],
        torch.backends.cpu.get_cpu_capability(),
    ]


def _weights(model: AudioVisualModel) -> str:
    """The SHA-256 of the weights and statistics that tokens are computed with."""
    found = hashlib.sha256()
    for modality in model.modalities:
        backbone: Any = model.backbones[modality]
        after = {id(module) for part in backbone.after_fusion for module in part.modules()}
        for part in (model.encoders[modality], backbone):
            for name, module in part.named_modules():
                if id(module) in after:
                    continue
                tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
                for key, tensor in tensors:
                    found.update(f"{modality} {name} {key} {tensor.dtype} {list(tensor.shape)}".encode())
                    found.update(
                        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                    )
    return found.hexdigest()
