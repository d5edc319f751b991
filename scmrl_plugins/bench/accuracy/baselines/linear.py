"""A linear model on the inputs that the networks get."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from scmrl_plugins.bench.accuracy.baselines.material import Arrays, Material
from scmrl_plugins.core.evaluation.disturbance import Disturbance

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of scikit-learn's C, of which the validation split chooses one."""


def linear(modalities: Sequence[str], material: Material) -> Callable[[Disturbance], np.ndarray]:
    """Multinomial logistic regression (scikit-learn) of the class on all values of the modalities' inputs.

    Each value is standardised by its mean and deviation in the training split. The returned function gives the
    probabilities ``[n, K]`` for the test split under a condition.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(inputs: Arrays) -> np.ndarray:
        flat = [inputs[name].reshape(len(inputs[name]), -1) for name in modalities if name in inputs]
        return np.concatenate(flat, axis=1).astype(np.float64)

    given, labels = features(material.inputs("train")), material.split("train").labels
    held_out, answers = features(material.inputs("validation")), material.split("validation").labels
    best, best_accuracy = None, -1.0
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the validation split judges the result
            model.fit(given, labels)
        if (accuracy := model.score(held_out, answers)) > best_accuracy:
            best, best_accuracy = model, accuracy
    assert best is not None
    seen, classes = best.classes_, len(material.parts.dataset.classes)

    def answer(condition: Disturbance) -> np.ndarray:
        found = best.predict_proba(features(material.inputs("test", condition)))
        probabilities = np.zeros((len(found), classes))
        probabilities[:, seen] = found
        return probabilities

    return answer
