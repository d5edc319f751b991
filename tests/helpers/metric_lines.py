"""Lines of ``metrics.jsonl`` as a training writes them, of any size."""

from __future__ import annotations

from typing import Any

import numpy as np


def lines(epochs: int, classes: list[str], layers: int) -> list[dict[str, Any]]:
    """Lines of metrics as a training writes them."""
    rates = {f"backbones.audio.blocks.{index}.neuron": 0.15 if index else 0.0 for index in range(layers)}
    found: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        figures = {"accuracy": epoch / epochs, "loss": 1 / epoch, "macro_f1": epoch / epochs}
        found.append({"epoch": epoch, "lr": 0.01, "terms": {"ce": 1.0, "sao": 0.5}, "firing_rates": rates})
        found[-1] |= {
            f"{split}_{name}": value for split in ("train", "validation") for name, value in figures.items()
        }
    counts = np.random.default_rng(0).poisson(0.3, (len(classes), len(classes))) + 5 * np.eye(
        len(classes), dtype=int
    )
    found.append(
        {
            "split": "test",
            "protocol": "honest",
            "best_epoch": epochs,
            "skipped": 0,
            "n": int(counts.sum()),
            "accuracy": 0.5,
            "loss": 1.0,
            "macro_f1": 0.5,
            "per_class": dict.fromkeys(classes, 0.5),
            "per_group": {"speaker": {name: {"n": 3, "accuracy": 0.5} for name in classes}},
            "interval": [0.4, 0.6],
            "interval_method": "clustered by speaker: 30, design effect 1.0",
            "confusion": counts.tolist(),
            "firing_rates": rates,
            "constant_layers": [],
        }
    )
    return found
