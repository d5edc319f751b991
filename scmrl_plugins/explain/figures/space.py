"""The shared semantic space of audio and vision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from scmrl_plugins.explain.drawing import SERIES, WIDTH, Drawing, Table, heat, margin, panel
from scmrl_plugins.explain.figures.declare import measured_figure
from scmrl_plugins.explain.shorten import shortened

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

NAMED = 24
POINTS, LEAST = 300, 12
"""Samples of the t-SNE, and from how many it says something."""


def _source(aligned: bool) -> str:
    return "the residuals that the fusion exchanges" if aligned else "the streams after the fusion"


def _labels(measured: Measured) -> np.ndarray:
    return measured.evaluation.predictions.targets.numpy()


@measured_figure("space", "Similarity of audio and vision by class")
def similarity(measured: Measured) -> Iterator[Drawing]:
    """Cosine of the mean audio and the mean visual representation of each pair of classes."""
    if set(measured.space) != {"audio", "visual"}:
        return
    labels, classes = _labels(measured), measured.evaluation.predictions.classes
    present = np.unique(labels)
    centred = {name: x - x.mean(0) for name, x in measured.space.items()}
    means = {name: np.stack([x[labels == k].mean(0) for k in present]) for name, x in centred.items()}
    unit = {name: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for name, x in means.items()}
    cosine = unit["audio"] @ unit["visual"].T
    names = [shortened(classes[k], 14) for k in present]
    wide = len(present) > 12
    side = WIDTH if not wide else 7.0
    room = margin(names if len(present) <= NAMED else ["0000"]) + 0.15
    with panel(side, 0.92 * side, left=room, bottom=room) as drawn:
        axes = drawn.axes()
        heat(axes, np.clip(cosine, 0, 1), 1.0, aspect="equal")
        axes.set(xlabel="vision", ylabel="audio")
        axes.spines[:].set_visible(True)
        if len(present) <= NAMED:
            rotation = 0 if max(map(len, names)) <= 2 else 60
            axes.set_xticks(range(len(names)), names, rotation=rotation, ha="right" if rotation else "center")
            axes.set_yticks(range(len(names)), names)
    same = float(np.diag(cosine).mean())
    other = float((cosine.sum() - np.trace(cosine)) / max(1, cosine.size - len(cosine)))
    rows = [
        [name, f"{cosine[i, i]:.2f}", f"{np.delete(cosine[i], i).max(initial=-1):.2f}"]
        for i, name in enumerate(names)
    ]
    yield Drawing(
        drawn.svg,
        f"Similarity of the mean audio and visual representation of {len(present)} classes: {same:.2f} for the "
        f"same class, {other:.2f} for different ones, on average",
        f"Cosine of {_source(measured.aligned)}, centred by modality; 0 or less is blank.",
        Table(["class", "with itself", "with the most similar other"], rows),
        wide=wide,
    )


@measured_figure("space", "Audio and vision in one plane (t-SNE)")
def plane(measured: Measured) -> Iterator[Drawing]:
    """t-SNE of the audio and the visual representation of every sample, coloured by class."""
    if not measured.space or len(_labels(measured)) < LEAST:
        return
    labels, classes = _labels(measured)[:POINTS], measured.evaluation.predictions.classes
    modalities = list(measured.space)
    units = []
    for name in modalities:
        x = measured.space[name][:POINTS]
        x = x - x.mean(0)
        units.append(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
    points = embedded(np.concatenate(units))
    common = [
        int(k) for k in np.argsort(-np.bincount(labels), kind="stable")[: len(SERIES)] if (labels == k).any()
    ]
    with panel(WIDTH, 3.9, left=0.12, bottom=0.65) as drawn:
        axes = drawn.axes()
        for number in range(len(modalities)):
            part = points[number * len(labels) : (number + 1) * len(labels)]
            for k, colour in zip(common, SERIES, strict=False):
                chosen = labels == k
                label = shortened(classes[k], 14) if number == 0 else None
                axes.scatter(
                    *part[chosen].T, s=16, marker="o^"[number], color=colour, label=label, lw=0, alpha=0.85
                )
        axes.set(xticks=[], yticks=[])
        axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.01), handletextpad=0.1)
    shown = (
        f"the {len(common)} most frequent of {len(np.unique(labels))} classes"
        if len(np.unique(labels)) > len(common)
        else f"{len(common)} classes"
    )
    yield Drawing(
        drawn.svg,
        f"t-SNE of {_source(measured.aligned)} for {len(labels)} samples of {shown}; "
        + " and ".join(
            f"{mark} for {name}" for mark, name in zip(("dots", "triangles"), modalities, strict=False)
        ),
        "Dots: audio, triangles: vision." if len(modalities) == 2 else "",
    )


def embedded(x: np.ndarray) -> np.ndarray:
    """t-SNE ``[n, D] -> [n, 2]``."""
    from sklearn.manifold import TSNE

    if not np.ptp(x):
        return np.zeros((len(x), 2))
    perplexity = min(30.0, (len(x) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="random", max_iter=500, random_state=0).fit_transform(x))
