"""``scmrl import``: a run from a configuration and the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly, reference
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import checkpoints, directory
from scmrl_plugins.core.run.pretrained import file_digest
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import shortened

_LISTED = 12
"""Names in a message of each kind of difference."""


@dataclass
class Fit:
    """How the tensors of a checkpoint fit a model, by their names in the checkpoint."""

    names: str
    """Whose names the checkpoint has: ``scmrl``, or ``published`` for those of the S-CMRL code."""
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Of the model, not in the checkpoint."""
    unused: list[str] = field(default_factory=list)
    """Of the checkpoint, not in the model."""
    misshapen: list[str] = field(default_factory=list)
    """Of another shape or type, as ``NAME [SHAPE], the model has [SHAPE]``."""
    ignored: list[str] = field(default_factory=list)
    """Parameters of the published code that its forward pass does not use."""
    converted: list[str] = field(default_factory=list)
    """Types other than the model's that were converted, such as ``float16``."""

    @property
    def complete(self) -> bool:
        """Whether each tensor of either has its counterpart."""
        return not (self.missing or self.unused or self.misshapen)

    def __str__(self) -> str:
        kinds = {
            "missing": self.missing,
            "unused": self.unused,
            "of another shape": self.misshapen,
        }
        return "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shortened(name, 120) for name in names[:_LISTED]) + more


def import_run(
    source: Path, config: ExperimentConfig, path: Path, *, partial: bool = False
) -> tuple[directory.Run, Fit, checkpoints.Checkpoint]:
    """Create a run with the weights of a checkpoint; how they fitted, and where they were found.

    Raises ``UserError`` for a checkpoint that cannot be read or, unless ``partial``, does not fit as it is.
    """
    directory.check_free(path)
    checkpoint = checkpoints.read(source)
    # These weights take the place of those that the configuration starts from.
    config = config.model_copy(update={"train": config.train.model_copy(update={"pretrained": {}})})
    parts = assembly.assemble(config)
    fit = fill(source, parts.model, checkpoint.tensors)
    if not fit.complete and not (partial and fit.loaded):
        remedy = "" if not fit.loaded else ", or import what fits with --partial"
        raise UserError(f"{source}: does not fit the model: {fit}; correct the configuration{remedy}")
    origin = {"file": str(source.resolve()), "sha256": file_digest(source)}
    run = directory.create_run(path, parts, imported={**origin, **vars(fit)})
    return run, fit, checkpoint


def fill(source: Path, model: AudioVisualModel, tensors: Mapping[str, Tensor]) -> Fit:
    """Copy the tensors that fit into the model.

    Raises ``UserError`` for values that are not finite, and for published weights of another threshold.
    """
    fit, ours = _matched(model, tensors)
    if fit.names == "published":
        _check_thresholds(source, model, tensors)
    copies = {}
    for name, target in ours.items():
        if name not in tensors:
            if not name.endswith("num_batches_tracked"):  # a count, which evaluation does not use
                fit.missing.append(name)
            continue
        given = tensors[name]
        if not _same_kind(given, target):
            fit.misshapen.append(f"{name} {_described(given)}, the model has {_described(target)}")
            continue
        if not given.isfinite().all() and target.isfinite().all():
            raise UserError(f"{source}: {shortened(name, 120)} has values that are not finite: save it again")
        if given.dtype != target.dtype:
            fit.converted.append(str(given.dtype).removeprefix("torch."))
        copies[name] = given
    with torch.no_grad():
        for name, given in copies.items():
            ours[name].copy_(given)
    fit.loaded = list(copies)
    fit.converted = sorted(set(fit.converted))
    return fit


def _matched(model: AudioVisualModel, tensors: Mapping[str, Tensor]) -> tuple[Fit, dict[str, Tensor]]:
    """The model's tensors under our names or the published ones, of which the checkpoint has more."""
    ours = dict(model.state_dict(keep_vars=True))
    try:
        published = reference.reference_parameters(model)
    except UserError:
        published = {}
    if len(published.keys() & tensors.keys()) <= len(ours.keys() & tensors.keys()):
        return Fit("scmrl", unused=[name for name in tensors if name not in ours]), ours
    others = [name for name in tensors if name not in published]
    ignored = [name for name in others if reference.is_unused(name)]
    return Fit("published", unused=[name for name in others if name not in ignored], ignored=ignored), published


def _check_thresholds(source: Path, model: AudioVisualModel, tensors: Mapping[str, Tensor]) -> None:
    """``UserError`` where a threshold of the published weights is none of the model's."""
    named: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    known = {float(x) for name, x in named.items() if name.endswith(".threshold") and x.numel() == 1}
    for name, x in tensors.items():
        if name.endswith(".threshold") and x.numel() == 1 and known and float(x) not in known:
            raise UserError(
                f"{source}: {shortened(name, 120)} = {float(x):g}, and no neuron of the model has this threshold: "
                f"set neuron.threshold, or fusion.attention_threshold"
            )


def _same_kind(given: Tensor, target: Tensor | nn.Parameter) -> bool:
    return (
        given.shape == target.shape
        and given.layout == torch.strided
        and not given.is_quantized
        and given.is_floating_point() == target.is_floating_point()
        and given.is_complex() == target.is_complex()
    )


def _described(x: Tensor) -> str:
    kind = str(x.dtype).removeprefix("torch.")
    return f"{list(x.shape)} of {kind}"
