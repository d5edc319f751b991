"""What a model costs: its layers' parameters, sparsity and operations, counted over all samples of a split.

Every count is an integer, so that the mean is the same for batches of any size and order.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from scmrl_plugins.core.measure import products
from scmrl_plugins.core.measure.products import Convolution, Counts, Setting
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system.private import TorchDispatchMode

WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""Modules whose weights are connections."""


@dataclass(frozen=True)
class Layer:
    """What a module costs by itself, and for one sample as a mean. Costs of layers add up.

    ``dense`` are all connections of its products, without padding; ``effective`` those of two factors other than
    zero; ``macs`` and ``acs`` the multiply-accumulates and accumulates that they take, see ``products``;
    ``attention`` the effective ones between two activations, which the former include. A product of a static input
    counts once, for all steps. ``adds`` and what follows are the traffic of ``energy.lemaire``.
    """

    name: str
    parameters: int = 0
    """That can be trained."""
    footprint: int = 0
    """Bytes of all parameters and buffers."""
    weights: int = 0
    """Of convolutions and linear layers."""
    zero_weights: int = 0
    activations: float = 0
    """Outputs of neurons, over all steps."""
    active: float = 0
    """Those other than zero: the spikes."""
    dense: float = 0
    effective: float = 0
    macs: float = 0
    acs: float = 0
    attention: float = 0
    membrane_updates: float = 0
    """One for each neuron with a membrane and step."""
    adds: float = 0
    muls: float = 0
    accesses: float = 0
    words: float = 0
    activation_words: float = 0

    @property
    def connection_sparsity(self) -> float | None:
        """The share of weights that are zero; none without weights."""
        return self.zero_weights / self.weights if self.weights else None

    @property
    def activation_sparsity(self) -> float | None:
        """The share of the neurons' outputs that are zero; none without neurons."""
        return 1 - self.active / self.activations if self.activations else None


_AMOUNTS = tuple(field.name for field in fields(Layer) if field.name != "name")
_STATIC = ("parameters", "footprint", "weights", "zero_weights")


def total(layers: Iterable[Layer]) -> Layer:
    """The sum of the layers."""
    listed = list(layers)
    return Layer("total", **{name: sum(vars(layer)[name] for layer in listed) for name in _AMOUNTS})


@torch.no_grad()
def count(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    neuron: type[nn.Module],
    steps: int,
    dense: bool = False,
) -> list[Layer]:
    """The cost of each module of a model with anything to count, in evaluation mode, as a mean over all samples.

    An operation belongs to the innermost module that calls it. ``neuron``: the class of its neurons, each called
    with all ``steps``. ``dense``: as a network without spikes, of which no value is zero. Modules and modes are as
    before afterwards.
    """
    counter = _Counter(model, neuron, steps, dense)
    samples = 0
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with counter.hooks():
            for inputs in batches:
                size = len(next(iter(inputs.values())))
                counter.begin(size)
                with counter:
                    model(**inputs)
                samples += size
    finally:
        for module, training in modes:
            module.training = training
    return list(_layers(model, counter.found, max(1, samples)))


def count_batches(
    model: AudioVisualModel, batches: Iterable[Mapping[str, Tensor]], *, dense: bool = False
) -> list[Layer]:
    """``count`` of an audio-visual model."""
    return count(model, batches, neuron=model.neuron_type, steps=model.config.model.steps, dense=dense)


def _layers(model: nn.Module, found: Mapping[str, Counts], samples: int) -> Iterator[Layer]:
    seen: set[int] = set()
    for name, module in model.named_modules():
        held = [
            x for x in (*module.parameters(recurse=False), *module.buffers(recurse=False)) if id(x) not in seen
        ]
        seen.update(map(id, held))
        weights = [module.weight] if isinstance(module, WEIGHTED) else []
        static = {
            "parameters": sum(x.numel() for x in held if x.requires_grad),
            "footprint": sum(x.numel() * x.element_size() for x in held),
            "weights": sum(x.numel() for x in weights),
            "zero_weights": sum(x.numel() - int(x.count_nonzero()) for x in weights),
        }
        counted = {key: value / samples for key, value in found.get(name, {}).items()}
        if any(static.values()) or any(counted.values()):
            yield Layer(name or "model", **static, **counted)  # type: ignore[arg-type]


class _Counter(TorchDispatchMode):
    """Counts products as they are dispatched, by the module that is called, and the outputs of neurons."""

    def __init__(self, model: nn.Module, neuron: type[nn.Module], steps: int, dense: bool) -> None:
        super().__init__()
        self.model, self.neuron, self.steps, self.dense = model, neuron, steps, dense
        self.found: dict[str, Counter[str]] = {}
        neurons: list[Any] = [module for module in model.modules() if isinstance(module, neuron)]
        self.membrane = any(_has_membrane(one) for one in neurons) and not dense
        self._calls: list[str] = []
        held: list[Any] = [*model.parameters(), *model.buffers()]
        for module in model.modules():
            held += [value for value in vars(module).values() if isinstance(value, Tensor)]
        # By the memory, as views of weights are weights; kept, so that no other tensor gets the same.
        self._weights = {x.untyped_storage().data_ptr(): x for x in held if x.numel()}
        self._known = dict(self._weights)

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Every call of a module of the model is noted."""
        handles: list[Any] = []
        for name, module in self.model.named_modules():
            handles += self._hooked(name, module)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooked(self, name: str, module: nn.Module) -> Iterator[Any]:
        yield module.register_forward_pre_hook(lambda _module, _args: self._calls.append(name))
        yield module.register_forward_hook(
            lambda _module, _args, _out: self._calls.pop() and None, always_call=True
        )
        if isinstance(module, self.neuron):
            yield module.register_forward_hook(lambda one, _args, out: self.fired(name, one, out))

    def begin(self, samples: int) -> None:
        """A batch follows."""
        self.setting = Setting(samples, self.steps, self.membrane, self.dense)
        self._known = dict(self._weights)

    def add(self, name: str, counts: Counts) -> None:
        """Counts of a module."""
        self.found.setdefault(name, Counter()).update(counts)

    def fired(self, name: str, module: Any, out: Tensor) -> None:
        """A neuron was called."""
        active = out.numel() if self.dense else int(out.count_nonzero())
        counts = {"activations": out.numel(), "active": active}
        if _has_membrane(module) and not self.dense:
            events = products.events(out) if "analogue" in module.tags else active
            equation = module.integrate_and_fire()
            leak = 0 if equation is not None and equation.tau is None else out.numel()
            counts |= {
                "membrane_updates": out.numel(),
                "adds": leak + events,
                "muls": leak,
                "accesses": 2 * out.numel() + events,
                "words": 2 * out.numel() * self.setting.per_step(out.numel(), out.numel()),
            }
        self.add(name, counts)

    def _is_weight(self, x: Tensor) -> bool:
        return x.untyped_storage().data_ptr() in self._known

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = list(_tensors((*args, *(kwargs or {}).values())))
        if given and all(map(self._is_weight, given)):
            # What follows from weights alone, such as their copy in half precision, is a weight.
            made = [x for x in _tensors((out,)) if x.numel()]
            self._known.update({x.untyped_storage().data_ptr(): x for x in made})
            return out
        if func._schema.is_mutable:  # what is written to is a weight no longer
            for x in _tensors((out,)):
                for known in (self._known, self._weights):
                    known.pop(x.untyped_storage().data_ptr(), None)
        if (counts := self._product(func.overloadpacket, args, kwargs or {}, out)) is not None:
            self.add(self._calls[-1] if self._calls else "", counts)
        return out

    def _product(self, kind: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Counts | None:
        """The counts of an operation if it is a product."""
        aten = torch.ops.aten
        if kind in (aten.convolution, aten._convolution):
            x, weight, _, *how = args
            return products.convolution(x, weight, out, Convolution(*how[:6]), self.setting)
        if kind in (aten.addmm, aten.baddbmm):
            args = args[1:]
        if kind == aten.linear:
            args = (args[0].flatten(0, -2), args[1].mT)
        if kind in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.linear):
            return self._matrices(args[0], args[1])
        if kind in flop_registry:  # one that is not taken apart, such as a fused attention
            operations = int(flop_registry[kind](*args, **kwargs, out_val=out) // 2)
            return dict.fromkeys(("dense", "effective", "macs"), operations)
        return None

    def _matrices(self, a: Tensor, b: Tensor) -> Counts:
        """``a @ b``; a weight may be on either side."""
        if self._is_weight(a):
            a, b = b.mT, a.mT
        if not self._is_weight(b):
            return products.of_activations(a, b, self.setting)
        if b.dim() == 2:
            return products.weighted(a, b, self.setting)
        found: Counter[str] = Counter()
        if not any(b.stride()[:-2]):  # one matrix, expanded
            return products.weighted(a.flatten(0, -2), b[0], self.setting)
        for one, other in zip(a, b, strict=True):
            found.update(products.weighted(one, other, self.setting))
        return found


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments of an operation, some of which may be lists of tensors."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (x for x in value if isinstance(x, Tensor))


def _has_membrane(neuron: Any) -> bool:
    return "memoryless" not in neuron.tags
