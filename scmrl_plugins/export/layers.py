"""A model as a graph of torch's operators in which neuron layers are single operators."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from scmrl_plugins.core.interfaces import IntegrateAndFire, Neuron
from scmrl_plugins.core.model.audio_visual import AudioVisualModel


@torch.library.custom_op("scmrl::neuron_layer", mutates_args=())
def neuron_layer(x: Tensor, name: str) -> Tensor:
    """The neuron layer of a model by its name, ``[T, B, *] -> [T, B, *]``; only traced."""
    raise NotImplementedError


@neuron_layer.register_fake
def _(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


def neurons(model: AudioVisualModel) -> dict[str, Any]:
    """The neuron layers by name."""
    kinds = (Neuron, model.neuron_type)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def parameters(model: AudioVisualModel) -> dict[str, IntegrateAndFire | None]:
    """By neuron layer what ``Neuron.integrate_and_fire`` returns."""
    return {name: layer.integrate_and_fire() for name, layer in neurons(model).items()}


@contextlib.contextmanager
def as_operators(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within it, each of these neuron layers is the operator ``scmrl::neuron_layer`` with its name."""
    try:
        for name, layer in layers.items():
            vars(layer)["forward"] = functools.partial(neuron_layer, name=name)
        yield
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)


class Recorder(fx.Interpreter):
    """Runs a graph with the neurons of a model, and keeps the value of every node."""

    def __init__(self, traced: fx.GraphModule, model: AudioVisualModel) -> None:
        super().__init__(traced, garbage_collect_values=False)
        self.layers = neurons(model)
        self.steps = model.config.model.steps

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.scmrl.neuron_layer.default:
            x, name = args
            return self.layers[name](x)
        return super().call_function(target, args, kwargs)
