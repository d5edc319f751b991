"""Every fast path at once: golden numbers, the losses of the published form, its cost, exact spikes in bf16.

Counts of spikes are integers: they alone are compared to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from compiler import needs_compiler
from golden_cases import NEURONS, Golden, check_every_number, close
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.bench.speed.settings import BASELINE, OURS, Settings
from scmrl_plugins.bench.speed.step import Step
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.plugins.kernels import compiled, lookup, neuron
from scmrl_plugins.plugins.layers import attention, spiking_conv


def tokens_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT) @ v


def channels_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q @ (k.mT @ v)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Neurons and pooling in C++, sums looked up; counts what ran."""
    ran: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            ran[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setenv("SCMRL_COMPILE", "always")
    call = neuron.Kernel._call
    monkeypatch.setattr(
        neuron.Kernel,
        "_call",
        lambda kernel, name, *args, **more: counted(name, call)(kernel, name, *args, **more),
    )
    monkeypatch.setattr(spiking_conv.Repeat, "apply", counted("once", spiking_conv.Repeat.apply))
    monkeypatch.setattr(attention, "mix", counted("mix", attention.mix))
    monkeypatch.setattr(lookup._Convolution, "apply", counted("lookup", lookup._Convolution.apply))
    yield ran
    assert not compiled._broken


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("case", "mix"),
    [
        ("cmrl_shallow_events", channels_first),
        ("cmrl_spatiotemporal_aligned", tokens_first),
        ("late_concat", tokens_first),
        ("weight_attention", channels_first),
    ],
)
def test_golden_numbers_with_every_fast_path(
    case: str, mix: Any, fast: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels last, and either order of attention; op by op, test_reference.py has all cases.

    The inputs differ from step to step: for one see below.
    """
    monkeypatch.setattr(attention, "mix", mix)
    golden = Golden(case)
    check_every_number(golden, golden.model().to(memory_format=torch.channels_last))
    assert all(fast[name] > 0 for name in ("spikes", "gradients", "pooled", "pooled_gradients", "lookup")), fast


@pytest.mark.slow
@needs_compiler
def test_a_static_input_with_every_fast_path_is_the_published_form(
    fast: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 against BrainCog's node stepped, every layer on every step, op by op."""
    golden = Golden("cmrl_spatiotemporal_aligned")
    images = {name: x[:, 0] for name, x in golden.inputs().items() if x is not None}
    ours, theirs = golden.model().to(memory_format=torch.channels_last), golden.model(NEURONS["braincog"])
    steps = theirs.config.model.steps
    frames = {name: x.unsqueeze(1).repeat(1, steps, 1, 1, 1) for name, x in images.items()}
    for training in (False, True):
        with torch.set_grad_enabled(training):
            outputs = ours.train(training)(**images), theirs.train(training)(**frames)
        close(outputs[0].logits, outputs[1].logits, "logits")
    for output in outputs:
        F.cross_entropy(output.logits, golden["in/label"]).backward()
    learned = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None:
            close(parameter.grad, learned[name].grad, name)
    statistics = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        if "running" in name:
            close(buffer, statistics[name], name)
    assert fast.keys() == {"spikes", "gradients", "pooled", "pooled_gradients", "mix", "lookup"}


# Training ------------------------------------------------------------------------------------------------

SMALL = Settings(batch=4, image_size=16, steps=4, dims=32, heads=4, threads=1)


def losses(variant: str, layout: str, steps: int) -> list[float]:
    settings = SMALL.config(variant)
    config = settings.model_copy(update={"model": settings.model.model_copy(update={"layout": layout})})
    step = Step(config, torch.device("cpu"), every_step=variant == BASELINE)
    return [step.train() for _ in range(steps)]


@pytest.mark.slow
def test_fifty_losses_are_those_of_the_published_form() -> None:
    """BrainCog's node stepped, every layer on every step, op by op; float32, channels first.

    The first is equal to the bit. Later ones need not be: the gradient of a static input's convolution is of the
    sum over steps, there the sum of gradients, which rounds in another order.
    """
    ours, theirs = (losses(variant, "channels-first", 50) for variant in (OURS, BASELINE))
    assert ours[0] == theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours[-1] < 0.99 * ours[0]


# Cost ----------------------------------------------------------------------------------------------------


class Written(torch.utils._python_dispatch.TorchDispatchMode):
    """While open, the operations that ran, and the values that they put out."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.values = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.operations += 1
            tensors = [x for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, Tensor)]
            self.values += sum(x.numel() for x in tensors)
        return out


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["cmrl", "cmqka"])
def test_cost_is_linear_in_time_steps(fusion: str) -> None:
    """From 4 to 32 steps, a training step: operations and what they write, at most 8.8 times."""
    found = {}
    for steps in (4, 32):
        options = {"model": {"steps": steps, "image_size": 32}, "fusion": {"name": fusion}}
        parts = assembly.assemble(layers.compose(options=options))
        x = {name: torch.randn(2, c, 32, 32) for name, c in parts.model.channels.items()}
        with Written() as written:
            parts.loss(parts.model(**x), torch.tensor([0, 1]))[0].backward()
        found[steps] = written
    assert 1 < found[32].operations / found[4].operations <= 8
    assert 2 < found[32].values / found[4].values <= 8.8


# Half precision ------------------------------------------------------------------------------------------


def test_spikes_and_counts_are_exact_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 by accelerate neurons put out 0 and 1; attention sums them without loss and rounds once."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # of whatever ran before
    options = {"model": {"image_size": 32}, "neuron": {"threshold": 0.5}, "fusion": {"name": "cmrl"}}
    parts = assembly.assemble(layers.compose(options=options))
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    optimizer = torch.optim.SGD(parts.model.parameters(), 0.01)
    model: AudioVisualModel = parts.model
    spikes: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, model.neuron_type):
            module.register_forward_hook(lambda _module, _inputs, out: spikes.append(out))
    counts: list[tuple[Tensor, Tensor]] = []
    mix = attention.mix

    def noted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mixed = mix(q, k, v)
        counts.append((mixed, (q.long() @ k.long().mT) @ v.long()))
        return mixed

    monkeypatch.setattr(attention, "mix", noted)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    x = {name: torch.randn(4, c, 32, 32) for name, c in model.channels.items()}
    for _ in range(2):
        with accelerator.autocast():
            loss, _ = parts.loss(prepared(**x), torch.tensor([0, 1, 2, 3]))
        accelerator.backward(loss)
        optimizer.step()
    assert torch.bfloat16 in {out.dtype for out in spikes}
    for out in spikes:
        assert ((out == 0) | (out == 1)).all()
    assert any(out.any() for out in spikes)
    assert {mixed.dtype for mixed, _ in counts} == {torch.bfloat16}
    assert max(int(exact.max()) for _, exact in counts) > 1
    for mixed, exact in counts:
        assert torch.equal(mixed, exact.to(torch.bfloat16))
        small = exact <= 256  # what bf16 holds
        assert torch.equal(mixed[small].long(), exact[small])
    assert all(isinstance(p, nn.Parameter) and p.dtype == torch.float32 for p in model.parameters())
