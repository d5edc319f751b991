"""Temperature scaling: logits made as certain as they are right."""

from __future__ import annotations

import math

import numpy as np

LIMITS = (0.01, 100.0)
"""Temperatures that are considered; the upper one is reached where logits say nothing about the labels."""


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 with the least negative log-likelihood -sum_i log softmax(z_i / T)[y_i].

    ``logits`` z are ``[n, K]``, ``labels`` y are ``[n]``. T > 1 says that z is over-confident. Where every answer
    is right, the likelihood grows as T falls without end; T is 1 then. Guo et al. 2017, arXiv 1706.04599.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if (logits.argmax(1) == labels).all():
        return 1.0
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels].sum())

    found = minimize_scalar(loss, bounds=tuple(map(math.log, LIMITS)), method="bounded")
    return math.exp(found.x)
