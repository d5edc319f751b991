"""Seeds differ by each of their words."""

from __future__ import annotations

import torch

from scmrl_plugins.core.system import seeds


def test_every_word_matters() -> None:
    words = [(0, 1, "audio"), (1, 0, "audio"), (0, 1, "visual"), (0, 1), (2**32 - 1, 10**9, "audio")]
    assert len({seeds.mix(*one) for one in words}) == len(words)
    assert seeds.mix(0, 1, "audio") == seeds.mix(0, 1, "audio")


def test_a_generator_is_seeded_by_them() -> None:
    words = ((1, "a"), (1, "a"), (1, "b"))
    first, same, other = (torch.rand(3, generator=seeds.generator(*each)) for each in words)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
