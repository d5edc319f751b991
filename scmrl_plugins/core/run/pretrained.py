"""Modalities that start from the weights of another run: ``train.pretrained``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from scmrl_plugins.core.interfaces import Modality
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import UserError, catalogue

_SPLITTING = ("split", "fold", "seed", "picture_split", "test_speakers", "validation_speakers")
"""Settings of data sets, where they have them, that decide which samples are for training."""


def initialise(parts: Assembly, modality: Modality, source: Assembly) -> list[str]:
    """Copy the encoder and the backbone of a modality, with their statistics, and the head if both have one.

    Returns which parts were copied. Raises ``UserError`` if the modality, its inputs or its model differ, or if
    the source was trained on other samples, as it may then know those of the test.
    """
    for experiment, name in ((parts, "the fusion"), (source, "that run")):
        if modality not in experiment.model.modalities:
            raise UserError(f"{name} does not use {modality}; remove it")
    _require_equal(_settings(source, modality), _settings(parts, modality))
    copied = []
    for name, (old, new) in _modules(source.model, parts.model, modality).items():
        before, after = old.state_dict(), new.state_dict()
        wrong = sorted(before.keys() ^ after.keys()) or [
            key for key, tensor in before.items() if tensor.shape != after[key].shape
        ]
        if wrong:
            raise UserError(f"the {name} of that run has other weights (first difference: {wrong[0]!r})")
        new.load_state_dict(before)
        copied.append(name)
    return copied


def check_inputs(parts: Assembly, source: Assembly, modality: Modality) -> None:
    """``UserError`` if a source does not take the inputs of a modality, or was trained on other samples."""
    sizes = ((one.config.model.image_size, one.config.model.embed_dims) for one in (source, parts))
    theirs, ours = (
        {"model.image_size": size, "model.embed_dims": dims, **dict(_data_settings(one, modality))}
        for (size, dims), one in zip(sizes, (source, parts), strict=True)
    )
    _require_equal(theirs.items(), ours.items())


def _require_equal(theirs: Iterable[tuple[str, Any]], ours: Iterable[tuple[str, Any]]) -> None:
    one, other = dict(theirs), dict(ours)
    for key in {**other, **one}:
        if one.get(key) != other.get(key):
            raise UserError(f"{key} is {one.get(key)} in that run and {other.get(key)} here; make them equal")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settings(parts: Assembly, modality: Modality) -> Iterator[tuple[str, Any]]:
    """What the weights of a modality presuppose, by name."""
    config = parts.config
    for key, value in config.model.model_dump(exclude={"layout"}).items():
        yield f"model.{key}", value
    for kind in ("neuron", "encoder", "backbone"):
        entry = catalogue().get(kind, config.section(kind).name)
        yield f"{kind}.name", f"{entry.plugin.name}:{entry.name}"
        for key, value in config.section(kind).options.items():
            yield f"{kind}.{key}", value
    yield from _data_settings(parts, modality)


def _data_settings(parts: Assembly, modality: Modality) -> Iterator[tuple[str, Any]]:
    """What the inputs of a modality and the choice of samples depend on, by name."""
    config = parts.config
    options, transform = config.dataset.options, parts.dataset.transform_key()
    if transform is None:
        transform = {"name": config.dataset.name, **options}
    for key, value in {**transform, **{key: options.get(key) for key in _SPLITTING}}.items():
        yield f"dataset.{key}", value
    # A data set that standardises or normalises inputs in another way shows a missing modality differently.
    values = np.asarray(parts.dataset.blank[modality], np.float64).ravel().round(4).tolist()
    yield f"the input for no {modality} (dataset.standardize or the like)", values
    yield "train.protocol", config.train.protocol


def _modules(
    source: AudioVisualModel, target: AudioVisualModel, modality: Modality
) -> dict[str, tuple[nn.Module, nn.Module]]:
    """The parts to copy by name, each in the source and in the target."""
    modules = {
        "encoder": (source.encoders[modality], target.encoders[modality]),
        "backbone": (source.backbones[modality], target.backbones[modality]),
    }
    readouts: list[Any] = [source.readout, target.readout]
    old, new = (readout.head_of(modality) for readout in readouts)
    if old is not None and new is not None and source.classes == target.classes:
        modules["head"] = (old, new)
    return modules
