"""The device that a model runs on."""

from __future__ import annotations

import torch

from scmrl_plugins.registry import UserError


def resolve(name: str) -> torch.device:
    """The device of that name, for ``auto`` an accelerator if available; ``UserError`` if it is not available."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device in available if available[device])
    if not available[name]:
        raise UserError(f"--device {name}: no such device; use --device cpu")
    return torch.device(name)
