"""NIR graphs of convolutions and integrate-and-fire neurons, one step of one sample: nodes named after the layers.

The metadata has ``dt`` in seconds, ``steps``, ``classes`` as JSON, and ``reduction``: the output ``logits`` is
averaged over the steps. An input without time steps is the same at each step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.export import layers
from scmrl_plugins.export.formats import Cut
from scmrl_plugins.export.nir.convert import Converter
from scmrl_plugins.export.nir.graph import Converted
from scmrl_plugins.export.nir.operators import DT
from scmrl_plugins.export.nir.steps import Stepper
from scmrl_plugins.export.traced import trace
from scmrl_plugins.registry import UserError

SAMPLES = 2
"""Samples in the traced graph, by which time steps and samples are told apart."""
MOST = 4
"""Samples of a batch that the parts of a cut graph are compared on."""


def write(
    model: AudioVisualModel, example: Mapping[str, Tensor], path: Path, *, partial: bool = False
) -> Cut | None:
    """Write the graph, with batch norm folded into the layers before it.

    Raises ``UserError`` with the layers that NIR cannot express. With ``partial`` these are left out: what they
    get are outputs of the graph, and what they return are inputs.
    """
    import nir

    with layers.as_operators(layers.neurons(model)):
        traced = trace(model, example, dynamic=False).module()
    converted = Converter(layers.parameters(model), model.config.model.steps, SAMPLES).run(traced)
    named = "; ".join(f"{layer}: {', '.join(reasons)}" for layer, reasons in converted.lacking.items())
    if named and not partial:
        raise UserError(f"NIR has no such layers: {named}; --partial exports the others")
    computing = [node for node in converted.nodes.values() if not isinstance(node, nir.Input | nir.Output)]
    if not computing:
        raise UserError(f"NIR can express no layer of this model: {named}")
    metadata = {
        "dt": DT,
        "steps": model.config.model.steps,
        "classes": json.dumps(model.classes),
        "reduction": "mean",
    }
    nir.write(path, _graph(converted, metadata))
    if not named:
        return None
    stepper = Stepper(nir.read(path, type_check=False), DT)
    recorder = layers.Recorder(traced, model)

    def compare(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        n = len(next(iter(inputs.values()))) // SAMPLES * SAMPLES
        pairs = [
            _parts(converted, recorder, stepper, {name: x[start : start + SAMPLES] for name, x in inputs.items()})
            for start in range(0, min(n, MOST), SAMPLES)
        ]
        expected, found = zip(*pairs, strict=True)
        # Each value for itself, as a spike that rounding moves is one of many.
        return torch.cat(expected).reshape(-1, 1), torch.cat(found).reshape(-1, 1)

    return Cut(converted.lacking, compare)


def _graph(converted: Converted, metadata: dict[str, Any]) -> Any:
    import nir

    try:
        return nir.NIRGraph(converted.nodes, converted.edges, metadata=metadata)
    except (ValueError, NotImplementedError):
        # nir 1.0 takes the height of a kernel for its width, so that it refuses those that are not square.
        return nir.NIRGraph(converted.nodes, converted.edges, metadata=metadata, type_check=False)


def _parts(
    converted: Converted, recorder: layers.Recorder, stepper: Stepper, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """What the outputs of a cut graph are in the model, given its inputs there, and what they are in the file."""
    with torch.no_grad():
        recorder.run(*inputs.values())
    steps = recorder.steps
    given = {name: sequence(recorder.env[node], steps, name in inputs) for name, node in converted.entered.items()}
    outputs = stepper(given)
    expected, found = [], []
    for name, (node, value) in converted.left.items():
        out = outputs[name]
        out = out.mean(0) if value.mean else out
        expected.append(_by_sample(recorder.env[node], value.numbers // value.size % SAMPLES))
        taken = out.reshape(-1)[value.numbers]
        found.append(_by_sample(taken, value.numbers // value.size % SAMPLES))
    return torch.cat(expected, 1), torch.cat(found, 1)


def _by_sample(x: Tensor, sample: Tensor) -> Tensor:
    """The values of each sample, ``[B, M]``."""
    return torch.stack([x[sample == index] for index in range(SAMPLES)])


def sequence(x: Tensor, steps: int, is_input: bool) -> Tensor:
    """``[T, B, *]`` of an input of the model, or of a traced tensor ``[T, B, *]`` or ``[T B, *]``."""
    if is_input:
        return x.transpose(0, 1) if x.dim() == 5 else x.expand(steps, *x.shape)
    return x if x.shape[:2] == (steps, SAMPLES) else x.unflatten(0, (steps, SAMPLES))


def reader(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The logits of the graph in the file, stepped by ``Stepper`` and averaged over the steps."""
    import nir

    graph = nir.read(path, type_check=False)
    stepper, steps = Stepper(graph, float(graph.metadata["dt"])), int(graph.metadata["steps"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {name: sequence(inputs[name], steps, True) for name in graph.inputs}
        return stepper(given)["logits"].mean(0)

    return run
