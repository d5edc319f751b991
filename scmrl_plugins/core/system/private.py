"""Everything that the package uses of other libraries beyond their documented interfaces.

These are private names, and submodules imported without their package. Any release of a library may change them.
``tests/core/system/test_private.py`` checks each and reports what breaks without it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils import _python_dispatch
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

if TYPE_CHECKING:
    import datasets


def fix_sizes(x: Tensor, dims: Sequence[int]) -> None:
    """Make ``torch.compile`` treat these sizes of ``x`` as constants, even if others are dynamic."""
    torch._dynamo.mark_static(x, list(dims))


def limit_recompilations(count: int) -> contextlib.AbstractContextManager[None]:
    """Within it, ``torch.compile`` fails beyond the limit of recompilations instead of running op by op."""
    from torch._dynamo import config  # here, as it takes a second

    return config.patch(recompile_limit=count, fail_on_recompile_limit_hit=True)


def operations_intercepted() -> bool:
    """Whether a ``TorchDispatchMode`` is active, for example to count operations."""
    return bool(torch._C._len_torch_dispatch_stack())


def is_profiled() -> bool:
    """Whether torch's profiler records what runs."""
    return torch.autograd._profiler_enabled()


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether the module has forward hooks."""
    return bool(module._forward_hooks)


def has_hooks(module: nn.Module) -> bool:
    """Whether the module has hooks of any kind."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def reset_accelerator() -> None:
    """Reset accelerate's state, which otherwise rejects the settings of the next training in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def hub_client_error() -> type[Exception]:
    """The base of all errors of the HTTP library that huggingface_hub uses, such as a refused connection."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


@contextlib.contextmanager
def short_unpickling_errors(length: int = 1000) -> Iterator[None]:
    """Within it, ``torch.load`` cuts what it says of a damaged pickle.

    It searches that message for a time that grows with the square of its longest word, which may be all of the
    file.
    """
    from torch import _weights_only_unpickler as reader

    load = reader.Unpickler.load

    def cut(unpickler: Any) -> Any:
        try:
            return load(unpickler)
        except pickle.UnpicklingError as error:
            raise pickle.UnpicklingError(str(error)[:length]) from None

    reader.Unpickler.load = cut  # type: ignore[method-assign]
    try:
        yield
    finally:
        reader.Unpickler.load = load  # type: ignore[method-assign]


def stop_workers(loader: torch.utils.data.DataLoader[Any]) -> None:
    """Stop the persistent workers of a loader.

    Without it they are stopped once it is garbage, in an order in which torch waits five seconds for each.
    """
    iterator: Any = loader._iterator
    loader._iterator = None
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()


def fingerprint(rows: datasets.Dataset) -> str:
    """A hash of a data set's content and transformations, computed without reading it."""
    return rows._fingerprint


def infer_features(rows: datasets.IterableDataset) -> Any:
    """The features of a stream, inferred from its first rows; ``None`` if it has no rows."""
    return rows._resolve_features().features


_importing = threading.Lock()


def import_submodules(
    package: str, *modules: str, stand_ins: Mapping[str, Mapping[str, Any]] | None = None, keep: bool = True
) -> list[Any]:
    """Modules of a package without running the package's ``__init__``, which imports much more.

    Meanwhile the package is an empty module, and each of ``stand_ins`` a module with these attributes. A later
    import of the package runs in full. With ``keep`` it finds the same submodules, and the same classes in them;
    without, it imports them again. A package that is already imported is used as it is.
    """
    names = [f"{package}.{module}" for module in modules]
    with _importing:
        if package in sys.modules:
            return [importlib.import_module(name) for name in names]
        root, *parts = package.split(".")
        spec = importlib.util.find_spec(root)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"{root} is not installed: pip install {root}")
        temporary = [ModuleType(package)]
        temporary[0].__path__ = ["/".join([folder, *parts]) for folder in spec.submodule_search_locations]
        for name, attributes in (stand_ins or {}).items():
            temporary.append(ModuleType(name))
            vars(temporary[-1]).update(attributes)
        sys.modules.update({module.__name__: module for module in temporary})
        try:
            return [importlib.import_module(name) for name in names]
        finally:
            inner = [] if keep else [name for name in sys.modules if name.startswith(f"{package}.")]
            for name in {*(module.__name__ for module in temporary), *inner}:
                del sys.modules[name]


@functools.cache
def timm_training() -> list[Any]:
    """timm's ``optim`` and ``scheduler``, without its models, torchvision and torch's compiler: seconds less."""
    # Only for a decay of learning rates by layer does timm.optim call a function of timm.models.
    stand_ins: dict[str, dict[str, Any]] = {"timm.models": {"group_parameters": None}}
    # It sets an option of the compiler for one optimizer, and treats parameters of this class apart.
    compiler: dict[str, dict[str, Any]] = {
        "torch._dynamo": {"config": SimpleNamespace()},
        "torch.distributed.tensor": {"DTensor": _NoTensor},
    }
    stand_ins |= {name: names for name, names in compiler.items() if name not in sys.modules}
    return import_submodules("timm", "optim", "scheduler", stand_ins=stand_ins, keep=False)


class _NoTensor:
    """A class that no tensor has."""


def optimizers_without_compiler() -> None:
    """Let torch's optimizers be made and reset without importing its compiler, which takes two seconds.

    Their methods are marked as what the compiler leaves out, and import it for that. Nothing here compiles them.
    """
    for method in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        function = vars(torch.optim.Optimizer)[method].__wrapped__
        vars(function).setdefault("__dynamo_disable", function)


def step_without_compiler(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer of torch's step without importing the compiler, which its wrappers would only inform."""
    if type(optimizer).__module__.startswith("torch.optim."):
        step = torch.no_grad()(inspect.unwrap(type(optimizer).step))
        vars(optimizer)["step"] = functools.partial(step, optimizer)


class TorchDispatchMode(_python_dispatch.TorchDispatchMode):
    """torch's, without importing the compiler, which takes two seconds, only for a mode to be left out of it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


__all__ = [
    "BatchNorm",
    "TorchDispatchMode",
    "fingerprint",
    "fix_sizes",
    "has_forward_hooks",
    "has_hooks",
    "import_submodules",
    "infer_features",
    "is_profiled",
    "limit_recompilations",
    "operations_intercepted",
    "optimizers_without_compiler",
    "reset_accelerator",
    "step_without_compiler",
    "stop_workers",
    "timm_training",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
]
