"""Estimates of the energy of one inference from its operations and memory accesses, in joules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scmrl_plugins.core.measure.counting import Layer

PICO = 1e-12

FORMATS = {"arithmetic": (4.6, 0.9), "arithmetic_int8": (0.23, 0.03)}
"""Picojoules of a multiply-accumulate and of an accumulate in 45 nm, in single precision and in 8-bit integers;
Horowitz, ISSCC 2014."""

ADD, MULTIPLY = 0.1, 3.1
"""Picojoules of 32-bit integers in 45 nm."""
ACCESS, ACCESS_PER_BIT = 13.2, 1.09e-5
"""Picojoules of an access to a memory, and of an access for each bit of the memory."""
WORD = 32
"""Bits of a word."""

MODELS = {
    "arithmetic": "arithmetic in single precision, 45 nm",
    "arithmetic_int8": "arithmetic in 8-bit integers, 45 nm",
    "lemaire": "with memory and addressing (Lemaire et al. 2022)",
}
"""The energy models, and what they are."""

THRESHOLDS = {5: 0.057, 6: 0.064, 7: 0.064, 8: 0.064, 9: 0.064, 10: 0.064}
"""By the time steps, the spike rate below which a spiking network is cheaper than its quantised twin on typical
neuromorphic hardware: arXiv 2409.08290, 6.4 % for 5 to 10 steps, and since its version 4 5.7 % for 5."""


def arithmetic(layer: Layer, number: str = "arithmetic") -> float:
    """E = e_MAC MAC + e_AC AC, in one of ``FORMATS``: arithmetic only, without memory access or neurons."""
    multiply_accumulate, accumulate = FORMATS[number]
    return PICO * (multiply_accumulate * layer.macs + accumulate * layer.acs)


def lemaire(layer: Layer, bits: int = WORD) -> float:
    """E = E_operations + E_memory + E_addressing of Lemaire et al. 2022, arXiv 2210.13107.

    An addition takes 0.1 pJ, a multiplication 3.1 pJ, an access to a memory of n words of b bits 1.09e-5 n b +
    13.2 pJ; ``products`` says what is counted. Words have 32 bits, activations that are no spikes ``bits``.
    """
    size = WORD * layer.words + bits * layer.activation_words
    return PICO * (ADD * layer.adds + MULTIPLY * layer.muls + ACCESS * layer.accesses + ACCESS_PER_BIT * size)


def energies(layer: Layer, bits: int = WORD) -> dict[str, float]:
    """The energy by each of ``MODELS``."""
    return {**{number: arithmetic(layer, number) for number in FORMATS}, "lemaire": lemaire(layer, bits)}


def quantised_bits(steps: int) -> int:
    """ceil(log2(T + 1)): the bits of an activation that has as many levels as spikes in T steps."""
    return math.ceil(math.log2(steps + 1))


@dataclass(frozen=True)
class Threshold:
    """The spike rate of a network of T ``steps`` against the rate up to which it beats a quantised one."""

    steps: int
    spike_rate: float

    @property
    def bits(self) -> int:
        """Of an activation of the quantised network that it is compared with."""
        return quantised_bits(self.steps)

    @property
    def published_steps(self) -> int:
        """The number of steps nearest to T for which there is a threshold."""
        return min(max(self.steps, min(THRESHOLDS)), max(THRESHOLDS))

    @property
    def limit(self) -> float:
        """The published threshold for ``published_steps``."""
        return THRESHOLDS[self.published_steps]

    def as_dict(self) -> dict[str, float | int | str]:
        """For JSON."""
        return {
            "spike_rate": self.spike_rate,
            "threshold": self.limit,
            "steps": self.steps,
            "published_steps": self.published_steps,
            "bits": self.bits,
            "cheaper": "snn" if self.spike_rate < self.limit else "qnn",
        }

    def __str__(self) -> str:
        below = self.spike_rate < self.limit
        side = "below" if below else "above"
        near = "" if self.published_steps == self.steps else f", the nearest to {self.steps} that is published"
        cheaper = "spiking network" if below else f"QNN of {self.bits} bits"
        return (
            f"the {cheaper} is cheaper: a spike rate of {self.spike_rate:.1%}, {side} the "
            f"threshold of {self.limit:.1%} for {self.published_steps} steps{near}"
        )
