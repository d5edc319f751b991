"""ONNX graphs: inputs ``audio`` and ``visual``, those that the model uses, and the output ``logits``."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.export import layers
from scmrl_plugins.export.traced import trace
from scmrl_plugins.registry import UserError

OPSET = 20
FLOAT = 1
"""ONNX's number of float32."""
LARGEST = 2**31
"""Bytes of one file, which protobuf does not exceed."""


def write(model: AudioVisualModel, example: Mapping[str, Tensor], path: Path) -> None:
    """Write the graph in one file, for batches of any size; the metadata has ``classes`` (JSON) and ``steps``."""
    known = {name: spec for name, spec in layers.parameters(model).items() if spec is not None}
    # As one operator a layer, or the thousands of operators of their steps would take minutes to convert.
    with layers.as_operators({name: layer for name, layer in layers.neurons(model).items() if name in known}):
        program = trace(model, example)
    size = sum(x.numel() * x.element_size() for x in program.state_dict.values())
    if size >= LARGEST:
        raise UserError(f"the weights have {size / 2**30:.1f} GiB, and an ONNX file 2 at most: use torch-export")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(
                program,
                kwargs=dict(example),
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                custom_translation_table={
                    torch.ops.scmrl.neuron_layer.default: _neurons(known, model.config.model.steps)
                },
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert converted is not None
    converted.model.metadata_props["classes"] = json.dumps(model.classes)
    converted.model.metadata_props["steps"] = str(model.config.model.steps)
    path.write_bytes(converted.model_proto.SerializeToString())


def _neurons(known: Mapping[str, IntegrateAndFire], steps: int) -> Callable[..., Any]:
    """What converts a neuron layer: its time steps, one after the other."""
    import onnxscript

    op: Any = onnxscript.opset20

    def neuron_layer(x: Any, name: str) -> Any:
        spec, spikes, v = known[name], [], None
        fires = op.GreaterOrEqual if spec.fires_at_threshold else op.Greater
        currents = op.Split(x, axis=0, num_outputs=steps) if steps > 1 else [x]
        for current in currents:
            if spec.tau is None:
                v = current if v is None else op.Add(v, current)
            else:
                charged = op.Div(current if v is None else op.Sub(current, v), op.Constant(value_float=spec.tau))
                v = charged if v is None else op.Add(charged, v)
            s = op.Cast(fires(v, op.Constant(value_float=spec.threshold)), to=FLOAT)
            v = op.Mul(v, op.Sub(op.Constant(value_float=1.0), s))
            spikes.append(s)
        return op.Concat(*spikes, axis=0)

    return neuron_layer


def reader(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The logits that onnxruntime computes, on one thread as torch here."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        [logits] = session.run(["logits"], {name: inputs[name].numpy() for name in names})
        return torch.from_numpy(logits)

    return run
