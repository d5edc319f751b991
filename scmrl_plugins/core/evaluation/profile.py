"""What a trained model costs on a split, and whether a network without spikes would be cheaper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import Batch, Loader
from scmrl_plugins.core.evaluation.evaluate import trained_precision
from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.measure import counting, energy, operations
from scmrl_plugins.core.measure.counting import Layer
from scmrl_plugins.core.measure.energy import MODELS, WORD, Threshold
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

Kind = Literal["snn", "ann", "qnn"]

KINDS: dict[Kind, str] = {"snn": "spiking network", "ann": "ANN", "qnn": "QNN"}


@dataclass(frozen=True)
class Profile:
    """The costs of a model by layer, as means over ``n`` samples, and its accuracy on them."""

    layers: list[Layer]
    n: int
    accuracy: float | None
    steps: int
    kind: Kind
    bits: int = WORD
    """Of an activation."""
    name: str = ""
    bound: bool = False
    """Whether it is not measured: the dense operations of the architecture without spikes, in one step."""
    total: Layer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", counting.total(self.layers))

    @property
    def energy(self) -> dict[str, float]:
        """Joules by each of ``energy.MODELS``: the sums over the layers."""
        by_layer = [energy.energies(layer, self.bits) for layer in self.layers]
        return {model: sum(one[model] for one in by_layer) for model in MODELS}

    @property
    def threshold(self) -> Threshold | None:
        """Its spike rate against the published threshold; none without spikes."""
        total = self.total
        if self.kind != "snn" or not total.activations:
            return None
        return Threshold(self.steps, total.active / total.activations)

    @property
    def described(self) -> str:
        """For the lines that compare networks."""
        bits = f" of {self.bits} bits" if self.kind == "qnn" else ""
        measured = " (bound, not measured)" if self.bound else ""
        return f"{KINDS[self.kind]}{bits}{f' {self.name}' if self.name else ''}{measured}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the layers."""
        total = {
            key: value for key, value in _shown(self.total, self.bits).items() if key not in ("name", "energy")
        }
        return {
            "kind": self.kind,
            "bits": self.bits,
            "steps": self.steps,
            "n": self.n,
            "accuracy": self.accuracy,
            "total": total,
            "energy": self.energy,
            "threshold": self.threshold.as_dict() if self.threshold else None,
        }

    def by_layer(self) -> list[dict[str, Any]]:
        """Each layer for JSON."""
        return [_shown(layer, self.bits) for layer in self.layers]


def _shown(layer: Layer, bits: int) -> dict[str, Any]:
    """A layer for JSON, with the counts that its energy follows from under ``traffic``."""
    counts = dict(vars(layer))
    traffic = {key: counts.pop(key) for key in ("adds", "muls", "accesses", "words", "activation_words")}
    return {
        **counts,
        "connection_sparsity": layer.connection_sparsity,
        "activation_sparsity": layer.activation_sparsity,
        "traffic": traffic,
        "energy": energy.energies(layer, bits),
    }


def profile(
    model: AudioVisualModel, loader: Loader, device: torch.device, progress: Progress | None = None
) -> Profile:
    """The costs of a model on the samples of an ``evaluation_loader``, in evaluation mode.

    The precision is that of the training. A model that draws at random gets its samples one by one, each with a
    seed of its own, so that neither their order nor the batches matter. The generators keep their state.
    """
    hits: list[Tensor] = []
    labels: list[Tensor] = []

    def inputs() -> Iterator[dict[str, Tensor]]:
        for batch in loader:
            for part in _parts(batch, _draws(model)):
                torch.manual_seed(seeds.mix(0, int(part["index"][0])))
                labels.append(part["label"])
                yield {name: part[name].to(device) for name in model.modalities}
            if progress:
                progress.advance()

    def answered(_model: object, _args: object, output: ModelOutput) -> None:
        hits.append(output.logits.argmax(1).cpu() == labels[-1])

    hook = model.register_forward_hook(answered)
    try:
        with seeds.generators_kept(device), trained_precision(model, device):
            layers = counting.count_batches(model, inputs())
    finally:
        hook.remove()
    right = torch.cat(hits) if hits else torch.zeros(0)
    kind, bits = kind_of(model)
    accuracy = float(right.double().mean()) if len(right) else None
    return Profile(layers, len(right), accuracy, model.config.model.steps, kind, bits)


def _parts(batch: Batch, singly: bool) -> Iterator[Batch]:
    if not singly:
        yield batch
        return
    for index in range(len(batch["index"])):
        yield {name: x[index : index + 1] for name, x in batch.items()}


def _draws(model: AudioVisualModel) -> bool:
    """Whether the model draws random numbers."""
    parts: list[Any] = [*model.encoders.values(), *model.backbones.values(), model.fusion, model.neuron_type]
    return any("stochastic" in part.tags for part in parts)


def kind_of(model: AudioVisualModel) -> tuple[Kind, int]:
    """What the model's neurons make of it, and the bits of their outputs."""
    neurons: list[Any] = [module for module in model.modules() if isinstance(module, model.neuron_type)]
    bits = max((neuron.bits for neuron in neurons if neuron.bits is not None), default=None)
    if bits is not None:
        return "qnn", bits
    analogue = any({"analogue", "memoryless"} <= neuron.tags for neuron in neurons)
    return ("ann" if analogue else "snn"), WORD


def bounds(parts: Assembly) -> list[Profile]:
    """What an ANN and a QNN of the same architecture cost at most: dense operations in one step; not measured.

    The QNN has ceil(log2(T + 1)) bits. Empty for a model that has no spikes, or that does not work with one step.
    """
    model = parts.model
    if kind_of(model)[0] != "snn":
        return []
    one = parts.config.model.model_copy(update={"steps": 1})
    try:
        config = parts.config.model_copy(update={"model": one})
        twin, _ = assembly.assemble_model(config, model.classes, model.channels)
        with torch.random.fork_rng(devices=[]):
            inputs = operations.random_inputs(twin, torch.device("cpu"), batch=1)
            layers = counting.count_batches(twin, [inputs], dense=True)
    except UserError:
        return []
    bits = energy.quantised_bits(model.config.model.steps)
    return [
        Profile(layers, 0, None, 1, "ann", bound=True),
        Profile(layers, 0, None, 1, "qnn", bits, bound=True),
    ]


def verdicts(run: Profile, others: Sequence[Profile]) -> dict[str, str]:
    """A line for each energy model that says which network is cheaper, the run or one of the others.

    In single precision it is compared with ANNs, in 8-bit integers with QNNs, whose activations have few bits;
    with memory and addressing with both. A run with spikes is also held against the published threshold.
    """
    lines = {}
    compared = {"arithmetic": ("ann", "snn"), "arithmetic_int8": ("qnn", "snn"), "lemaire": ("ann", "qnn", "snn")}
    for model, kinds in compared.items():
        rivals = [other for other in others if other.kind in kinds]
        if rivals:
            best = min(rivals, key=lambda other: other.energy[model])
            mine, theirs = run.energy[model], best.energy[model]
            cheaper = f"the {best.described if theirs < mine else run.described} is cheaper"
            against = " and ".join(f"{joules(other.energy[model])} of the {other.described}" for other in rivals)
            lines[model] = f"{cheaper}: {joules(mine)} a sample against {against}"
    if run.threshold:
        lines["threshold"] = str(run.threshold)
    return lines


def joules(value: float) -> str:
    """An energy with its unit: nJ, µJ or mJ."""
    for factor, unit in ((1e3, "mJ"), (1e6, "µJ")):
        if value * factor >= 1:
            return f"{value * factor:,.3g} {unit}"
    return f"{value * 1e9:,.3g} nJ"
