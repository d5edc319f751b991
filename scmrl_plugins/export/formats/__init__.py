"""The formats of ``scmrl export``: a module each, and a row of ``FORMATS``.

A module has ``write(model, example, path)``, with an ``example`` of the inputs by modality, ``[2, *]``, and
``reader(path)``, which returns what computes the logits ``[B, K]`` of inputs from the file alone. ``write``
returns none, or a ``Cut`` where the file has only parts of the model.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from torch import Tensor

_HERE = "scmrl_plugins.export.formats"


@dataclass(frozen=True)
class Cut:
    """What a file lacks, by layer, and what compares its parts: ``inputs -> (expected, found)``."""

    lacking: dict[str, list[str]]
    compare: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Format:
    """The ending of a format's files, what they are, its module, and the packages that it needs."""

    ending: str
    summary: str
    module: str
    packages: tuple[str, ...] = ()
    traced: bool = True
    """Whether the file holds the operations of one forward pass, so that nothing in it may be drawn at random."""
    partial: bool = False
    """Whether the format lacks operators, and ``write`` takes ``partial`` to leave them out."""

    def load(self) -> Any:
        """The module; ``UserError`` if a package is missing."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"--format needs {', '.join(missing)}, not installed here: pip install 'scmrl-plugins[export]'"
            )
        return importlib.import_module(self.module)


FORMATS = {
    "safetensors": Format(
        ".safetensors", "weights, with configuration and classes", f"{_HERE}.safetensors", traced=False
    ),
    "onnx": Format(".onnx", "ONNX graph", f"{_HERE}.onnx", ("onnx", "onnxscript", "onnxruntime")),
    "nir": Format(".nir", "graph of NIR", f"{_HERE}.nir", ("nir",), partial=True),
    "torch-export": Format(".pt2", "program of torch.export", f"{_HERE}.torch_export"),
}
