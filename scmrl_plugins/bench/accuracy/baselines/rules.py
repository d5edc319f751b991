"""The answer to a task from what each modality says alone about K classes.

``audio`` and ``visual`` are probabilities ``[n, K]``; the results are probabilities of the classes of the task.
The two modalities are treated as independent given their own class.
"""

from __future__ import annotations

import numpy as np

_SMALL = 1e-12


def same(audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    """``[n, K]``: p_k proportional to a_k v_k, the product of experts, exact for equally frequent classes."""
    return normalized(audio * visual)


def match(audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    """``[n, 2]``: the second is p = sum_k a_k v_k, that both show the same class; the first is 1 - p."""
    both = (audio * visual).sum(1)
    return np.stack([1 - both, both], axis=1)


def total(audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    """``[n, K]``: p_k = sum_i a_i v_{(k - i) mod K}, the circular convolution: the sum of classes modulo K."""
    spectra = np.fft.rfft(audio, axis=1) * np.fft.rfft(visual, axis=1)
    return normalized(np.fft.irfft(spectra, n=audio.shape[1], axis=1).clip(0))


def select(audio: np.ndarray, visual: np.ndarray, cue: np.ndarray) -> np.ndarray:
    """``[n, K]``: c a + (1 - c) v with ``cue [n]`` the probability that the sound counts."""
    return cue[:, None] * audio + (1 - cue[:, None]) * visual


def normalized(weights: np.ndarray) -> np.ndarray:
    """Rows that sum to one; equal values in a row without any weight."""
    weights = weights + _SMALL / weights.shape[1]
    return weights / weights.sum(1, keepdims=True)
