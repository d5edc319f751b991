"""``scmrl export``: a run's model written in another format, and compared with the model."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import EvaluationData, Loader
from scmrl_plugins.core.evaluation.samples import samples_of_test
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.export.formats import FORMATS
from scmrl_plugins.export.traced import check_deterministic
from scmrl_plugins.registry import UserError

TOLERANCE = 1e-4
"""Largest difference of a sample's logits that counts as equal."""
SHARE = 0.99
"""Share of the samples whose logits must be equal. In others, rounding may have moved a spike at the threshold."""
BATCH = 32
STORED, NOT_STORED = 2000, 256
"""Samples to compare on where the features of the test split are stored, and where they have to be computed."""

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """How the logits of a file differ from those of the model, over ``n`` samples."""

    source: str
    """What the samples are: ``test split`` or ``random inputs``."""
    n: int
    max_difference: float
    within: int
    """Samples whose logits all differ by ``TOLERANCE`` at most."""
    same_top1: int
    unit: str = "samples"
    """``values`` where the parts of a file are compared, each value for itself."""
    rounding: int | None = None
    """Samples on which the model itself differs by more between single and double precision, if measured."""

    @property
    def holds(self) -> bool:
        """Whether the file computes the model: the same class for every sample, and equal logits for most."""
        return self.same_top1 == self.n and self.within >= SHARE * self.n

    def as_exact_as(self, other: Comparison) -> bool:
        """Whether as many samples are equal as in another comparison, up to three standard deviations."""
        pairs = ((self.within, other.within), (self.same_top1, other.same_top1))
        spread = [3 * math.sqrt(theirs * (1 - theirs / self.n)) for _, theirs in pairs]
        return all(mine + more >= theirs for (mine, theirs), more in zip(pairs, spread, strict=True))

    def __str__(self) -> str:
        found = (
            f"compared on {self.n:,} {self.unit} ({self.source}): largest difference "
            f"{self.max_difference:.2g}, {self.within:,} within {TOLERANCE:g}, "
            f"{self.same_top1:,} with the same class"
        )
        if self.rounding is None:
            return found
        return (
            f"{found}; rounding moves spikes: between single and double precision, the model itself differs by "
            f"more on {self.rounding:,} samples"
        )


@dataclass(frozen=True)
class Exported:
    """What was written: sizes by name of input and output, where ``batch`` is of any size."""

    path: str
    format: str
    steps: int
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    comparison: Comparison
    lacking: dict[str, list[str]] = field(default_factory=dict)
    """By layer, what was left out."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = self.comparison
        return {
            **{key: value for key, value in dataclasses.asdict(self).items() if key != "comparison"},
            "max_difference": found.max_difference,
            "verified": found.n,
            "verified_on": found.source,
            "verified_unit": found.unit,
            "within_tolerance": found.within,
            "same_top1": found.same_top1,
            "rounding": found.rounding,
            "tolerance": TOLERANCE,
        }


def export(
    run: Run,
    name: str,
    path: Path,
    *,
    steps: int | None = None,
    samples: int | None = None,
    partial: bool = False,
    progress: Progress,
) -> Exported:
    """Write a run's model in a format, run the file on up to ``samples`` test samples, and compare.

    ``steps``: time steps of the exported model, by default those of the run. Where the data is not here, inputs
    are random. ``partial``: leave out what the format does not have. Raises ``UserError``, and leaves no
    file, where a file does not compute what the model computes.
    """
    module = FORMATS[name].load()
    if partial and not FORMATS[name].partial:
        raise UserError(f"--partial: a file of {name} has the complete model; leave the option out")
    files.check_name(path)
    parts = run.assemble()
    model = _with_steps(run, parts, steps)
    model.record_firing_rates(False)
    if FORMATS[name].traced:
        check_deterministic(model)
    batches, source = _batches(parts, model, samples, progress)
    example = {key: x[:2] if len(x) > 1 else x.repeat(2, *[1] * (x.dim() - 1)) for key, x in batches[0].items()}
    _check_steps(example, model, steps)
    with files.saved(path), files.replacing(path) as temporary:
        progress.stage(f"writing {path.name}", None)
        cut = module.write(model, example, temporary, **({"partial": True} if partial else {}))
        compared = cut.compare if cut else _against(model, module.reader(temporary))
        found = _compare(compared, batches, source, progress)
        if cut:
            found = dataclasses.replace(found, unit="values")
        if not (found.holds or cut):
            found = _explained(model, module.reader(temporary), batches, found, progress)
        if not found.holds and found.rounding is None:
            raise UserError(f"{path}: the file does not compute what the model does, and was removed: {found}")
    sizes = {key: ["batch", *x.shape[1:]] for key, x in example.items()}
    outputs = {} if cut else {"logits": ["batch", len(model.classes)]}
    lacking = cut.lacking if cut else {}
    return Exported(str(path), name, model.config.model.steps, sizes, outputs, found, lacking)


def _with_steps(run: Run, parts: assembly.Assembly, steps: int | None) -> AudioVisualModel:
    config = parts.config
    if steps is None or steps == config.model.steps:
        return parts.model.eval()
    changed = config.model_copy(update={"model": config.model.model_copy(update={"steps": steps})})
    model, _ = assembly.assemble_model(changed, parts.model.classes, parts.model.channels)
    weights.load_weights(run.weights_file, model)
    return model.eval()


def _check_steps(example: Inputs, model: AudioVisualModel, steps: int | None) -> None:
    for name, x in example.items():
        if x.dim() == 5 and x.shape[1] != model.config.model.steps:
            raise UserError(
                f"--steps {steps}: {name} of this run's data comes in {x.shape[1]} time steps; leave it out"
            )


def _batches(
    parts: assembly.Assembly, model: AudioVisualModel, samples: int | None, progress: Progress
) -> tuple[list[dict[str, Tensor]], str]:
    """The inputs to compare on, and what they are."""
    try:
        split, _ = samples_of_test(parts, samples or STORED, progress, samples or NOT_STORED)
    except UserError as error:
        progress.line(f"note: compared on random inputs, as the data is not here: {error}")
        inputs = random_inputs(model, torch.device("cpu"), min(samples or 2 * BATCH, 2 * BATCH))
        return [{name: inputs[name] for name in model.modalities}], "random inputs"
    starts = range(0, len(split), BATCH)
    chosen = [range(start, min(start + BATCH, len(split))) for start in starts]
    loader = Loader(EvaluationData(split), parts.config, chosen)
    return [{name: batch[name] for name in model.modalities} for batch in loader], "test split"


@torch.no_grad()
def _compare(
    compared: Callable[[Inputs], tuple[Tensor, Tensor]],
    batches: list[dict[str, Tensor]],
    source: str,
    progress: Progress,
) -> Comparison:
    progress.stage("comparing", len(batches))
    n = within = same = 0
    largest = 0.0
    for inputs in batches:
        expected, found = (x.double() for x in compared(inputs))
        difference = (expected - found).abs().amax(1)
        n += len(difference)
        # A comparison with NaN is false, so that it never counts as equal.
        within += int((difference <= TOLERANCE).sum())
        same += int((expected.argmax(1) == found.argmax(1)).sum())
        largest = max(largest, float(difference.nan_to_num(float("inf"), float("inf")).max()))
        progress.advance()
    return Comparison(source, n, largest, within, same)


def _explained(
    model: AudioVisualModel,
    run: Callable[[Inputs], Tensor],
    batches: list[dict[str, Tensor]],
    found: Comparison,
    progress: Progress,
) -> Comparison:
    """The comparison with ``rounding``, if the file is as near to the model in double precision as the model."""
    double = copy.deepcopy(model).double()

    def exact(inputs: Inputs) -> Tensor:
        return double(**{name: x.double() for name, x in inputs.items()}).logits

    mine = _compare(lambda inputs: (exact(inputs), model(**inputs).logits), batches, found.source, progress)
    its = _compare(lambda inputs: (exact(inputs), run(inputs)), batches, found.source, progress)
    return dataclasses.replace(found, rounding=mine.n - mine.within) if its.as_exact_as(mine) else found


def _against(
    model: AudioVisualModel, run: Callable[[Inputs], Tensor]
) -> Callable[[Inputs], tuple[Tensor, Tensor]]:
    """The logits of the model, and those of a file."""

    def compare(inputs: Inputs) -> tuple[Tensor, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for what draws at random, in both the same
            expected = model(**inputs).logits
            torch.manual_seed(0)
            found = run(inputs)
        if found.shape != expected.shape:
            shapes = f"{list(found.shape)}, the model's {list(expected.shape)}"
            raise UserError(f"the file's logits have shape {shapes}")
        return expected, found

    return compare
