"""Which device a model runs on."""

from __future__ import annotations

import torch

from scmrl_plugins.registry import UserError


def resolve(name: str) -> torch.device:
    """``auto`` is the first accelerator there is, else the CPU; ``UserError`` for one that is not there."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise UserError(f"--device {name}: there is no such device here; use --device cpu")
    return torch.device(name)
