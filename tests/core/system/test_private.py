"""Private names of other libraries: each exists with the signature used, or the test says what breaks."""

from __future__ import annotations

import ast
import inspect
import io
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import scmrl_plugins
from scmrl_plugins.core.system import private

PACKAGE = Path(scmrl_plugins.__file__).parent


def batch_norm() -> None:
    for cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        assert issubclass(cls, private.BatchNorm)
    assert [*inspect.signature(private.BatchNorm).parameters][:5] == [
        "num_features",
        "eps",
        "momentum",
        "affine",
        "track_running_stats",
    ]
    assert "_check_input_dim" in vars(nn.BatchNorm2d)


def dispatch_mode() -> None:
    class Mode(private.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    seen: list[Any] = []
    assert not private.operations_intercepted()
    with Mode():
        assert private.operations_intercepted()
        torch.zeros(2) + 1
    assert torch.ops.aten.add.Tensor in seen
    assert not private.operations_intercepted()


def pytree() -> None:
    tree = {"a": [1, (2.0,)], "b": 3}
    assert private.tree_leaves(tree) == [1, 2.0, 3]
    assert private.tree_map(str, tree) == {"a": ["1", ("2.0",)], "b": "3"}
    assert private.tree_map_only(int, lambda x: -x, tree) == {"a": [-1, (2.0,)], "b": -3}


def forward_hooks() -> None:
    layer = nn.ReLU()
    assert not private.has_forward_hooks(layer)
    handle = layer.register_forward_hook(lambda *_: None)
    assert private.has_forward_hooks(layer)
    handle.remove()
    assert not private.has_forward_hooks(layer)


def hooks() -> None:
    layer = nn.ReLU()
    assert not private.has_hooks(layer)
    for register in (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        layer.register_full_backward_hook,
        layer.register_full_backward_pre_hook,
    ):
        handle = register(lambda *_: None)  # type: ignore[operator]
        assert private.has_hooks(layer)
        handle.remove()
        assert not private.has_hooks(layer)


def the_profiler() -> None:
    assert not private.is_profiled()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert private.is_profiled()


def fixed_sizes() -> None:
    shapes: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        examples = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
        shapes.extend(x.shape for x in examples if isinstance(x, torch.Tensor))
        return graph.forward

    x = torch.zeros(5, 7)
    private.fix_sizes(x, [1])
    torch.compile(lambda x: x + 1, dynamic=True, backend=backend)(x)
    (shape,) = shapes
    assert isinstance(shape[0], torch.SymInt)
    assert isinstance(shape[1], int)


def accelerator() -> None:
    from accelerate import Accelerator

    for precision in ("no", "bf16"):
        private.reset_accelerator()
        assert Accelerator(cpu=True, mixed_precision=precision).mixed_precision == precision
    private.reset_accelerator()


def fingerprints() -> None:
    import datasets

    one, other = (datasets.Dataset.from_dict({"x": [value]}) for value in (1, 2))
    assert isinstance(private.fingerprint(one), str)
    assert private.fingerprint(one) != private.fingerprint(other)


def inferred_features() -> None:
    import datasets

    rows = datasets.IterableDataset.from_generator(lambda: iter([{"x": 1}]))
    assert rows.features is None
    assert private.infer_features(rows)["x"].dtype == "int64"


def recompilations() -> None:
    def one_for_each(x: torch.Tensor, number: int) -> torch.Tensor:
        return x + number

    compiled = torch.compile(one_for_each, backend="eager", dynamic=False)
    with private.limit_recompilations(2):
        for number in (1, 2):
            compiled(torch.zeros(2), number)
        with pytest.raises(Exception, match="recompile_limit"):
            compiled(torch.zeros(2), 3)
    torch.compiler.reset()


def timm_alone() -> None:
    """In a fresh interpreter, where neither timm nor torchvision nor torch's compiler is imported yet."""
    program = (
        "import sys, torch\n"
        "from scmrl_plugins.core.system import private\n"
        "optim, scheduler = private.timm_training()\n"
        "assert optim.create_optimizer_v2 and optim.param_groups_weight_decay and scheduler.create_scheduler_v2\n"
        "private.optimizers_without_compiler()\n"
        "layer = torch.nn.Linear(2, 3)\n"
        "optimizer = optim.create_optimizer_v2(layer, 'adamw')\n"
        "private.step_without_compiler(optimizer)\n"
        "layer(torch.ones(2)).sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.zero_grad()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "late = ('timm', 'torchvision', 'torch._dynamo', 'torch.distributed.tensor')\n"
        "assert not [name for name in sys.modules if name.startswith(late)]\n"
        "import timm.optim\n"
        "assert timm.optim.create_optimizer_v2 and timm.list_models('resnet18')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def optimizer_steps() -> None:
    """Steps of torch's optimizers are the same with their wrappers and without."""
    for create in (torch.optim.AdamW, torch.optim.SGD, torch.optim.LBFGS):
        weights = []
        for change in (lambda _optimizer: None, private.step_without_compiler):
            weight = nn.Parameter(torch.linspace(-1, 1, 5))
            optimizer = create([weight], lr=0.1)
            change(optimizer)

            def loss(weight: nn.Parameter = weight, optimizer: Any = optimizer) -> torch.Tensor:
                optimizer.zero_grad()
                value = (weight**4).sum()
                value.backward()
                return value

            for _ in range(3):
                optimizer.step(loss)
            weights.append(weight.detach())
        assert torch.equal(*weights)


def hub_client_error() -> None:
    from huggingface_hub.errors import HfHubHTTPError

    kind = private.hub_client_error()
    assert kind.__module__.startswith("httpx")
    assert issubclass(HfHubHTTPError, kind)


def short_unpickling_errors() -> None:
    damaged = io.BytesIO(b"\x80\x02cm\n" + b"a" * 5000 + b"\n.")
    with pytest.raises(pickle.UnpicklingError) as raised, private.short_unpickling_errors(100):
        torch.load(damaged, weights_only=True)
    assert "aaa" in str(raised.value)
    assert "a" * 101 not in str(raised.value)


def persistent_workers() -> None:
    loader = torch.utils.data.DataLoader(range(4), num_workers=1, persistent_workers=True)  # type: ignore[arg-type]
    before = len(multiprocessing.active_children())
    assert next(iter(loader)) == 0
    assert len(multiprocessing.active_children()) == before + 1
    private.stop_workers(loader)
    assert len(multiprocessing.active_children()) == before
    assert [int(x) for x in loader] == [0, 1, 2, 3], "it starts others"
    private.stop_workers(loader)


BREAKS: dict[Callable[[], None], str] = {
    batch_norm: "batch norm over several processes, recomputed blocks and the recalibration of running statistics",
    dispatch_mode: "counts of operations and energy, the products of scmrl bench speed, the check of devices; "
    "with them, compiled kernels would hide operations that are counted",
    hub_client_error: "the line of scmrl push and hf:// for a hub that cannot be reached",
    short_unpickling_errors: "scmrl import takes minutes to refuse some damaged checkpoints",
    persistent_workers: "after an error in the data, commands wait five seconds for each worker",
    pytree: "neurons of more than 16 time steps, scmrl bench speed, the check of devices",
    hooks: "a batch norm with hooks would be left out, and they would not be called",
    the_profiler: "profiles would not name the functions in C++",
    forward_hooks: "hooks on neurons would see a part of the batch, and hooks on a pooling would not be called",
    fixed_sizes: "neurons fused with pooling take seconds longer to compile in each process",
    accelerator: "a second training in one process, with another precision or device, is refused",
    fingerprints: "stored features of data sets whose rows hold their content would be confused with others'",
    recompilations: "the conformance check of torch.compile would compare eager with eager",
    timm_alone: "training; or scmrl train starts seconds later, with timm's models and torch's compiler",
    optimizer_steps: "training with torch's optimizers",
    inferred_features: "streams from the Hub that declare no features cannot be read",
}


@pytest.mark.slow
@pytest.mark.parametrize(("check", "breaks"), BREAKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_private_name_still_works(check: Callable[[], None], breaks: str) -> None:
    try:
        check()
    except Exception as error:
        raise AssertionError(f"core/system/private.py needs this version's name. Breaks: {breaks}") from error


LIBRARIES = ("accelerate", "datasets", "safetensors", "timm", "torch", "torchvision")


def private_names(tree: ast.AST) -> Iterator[str]:
    """Private modules and names of the libraries that a module imports or reads."""
    for found in ast.walk(tree):
        names: list[str] = []
        if isinstance(found, ast.ImportFrom) and found.module and not found.level:
            names = [f"{found.module}.{alias.name}" for alias in found.names]
        elif isinstance(found, ast.Import):
            names = [alias.name for alias in found.names]
        elif isinstance(found, ast.Attribute):
            names = [ast.unparse(found)]
        for name in names:
            first, *rest = name.split(".")
            if first in LIBRARIES and any(part.startswith("_") and not part.startswith("__") for part in rest):
                yield name


@pytest.mark.slow
def test_private_names_are_used_nowhere_else() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := [*private_names(ast.parse(path.read_text(encoding="utf-8")))])
    }
    assert found.keys() == {str(Path("core", "system", "private.py"))}
