"""Seeds of random draws, mixed from what a draw belongs to."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def mix(*words: int | str) -> int:
    """A seed of 64 bits that follows from all the words: numbers of at least 0, and names."""
    entropy = [int.from_bytes(word.encode(), "big") if isinstance(word, str) else word for word in words]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def generator(*words: int | str) -> torch.Generator:
    """A generator seeded with ``mix(*words)``, on the CPU, so that all devices draw alike."""
    return torch.Generator().manual_seed(mix(*words))


def generators_kept(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Torch's generators, of the CPU and of the device, have their state again after the block."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device.index or 0], device_type=device.type)


@contextlib.contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """The global generators of torch, numpy and Python have their state again after the block."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with generators_kept(device):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
