"""Seeds of random draws, mixed from what a draw belongs to."""

from __future__ import annotations

import numpy as np
import torch


def mix(*words: int | str) -> int:
    """A seed of 64 bits that follows from all the words: numbers of at least 0, and names."""
    entropy = [int.from_bytes(word.encode(), "big") if isinstance(word, str) else word for word in words]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def generator(*words: int | str) -> torch.Generator:
    """A generator seeded with ``mix(*words)``, on the CPU, so that all devices draw alike."""
    return torch.Generator().manual_seed(mix(*words))
