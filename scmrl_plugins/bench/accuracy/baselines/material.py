"""What baselines compute from: the samples of the splits, and the trained networks of single modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from scmrl_plugins.bench.accuracy.baselines.calibration import temperature
from scmrl_plugins.bench.accuracy.cells import Cell
from scmrl_plugins.core.data.loading import Loader, evaluation_loader
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import CLEAN, corrupted_inputs, evaluate
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.interfaces import SPLITS, Modality
from scmrl_plugins.core.model.assembly import Assembly

Arrays = dict[str, np.ndarray]


@dataclass
class Material:
    """``parts`` describe the data; ``network(cell)`` are the parts of a trained cell, by name.

    ``seed``: of the corruptions, the same as for networks.
    """

    cell: Cell
    parts: Assembly
    network: Callable[[str], Assembly]
    device: torch.device
    seed: int
    _splits: dict[str, FeatureSplit] = field(default_factory=dict)

    def split(self, name: str) -> FeatureSplit:
        """A split of the data set."""
        if not self._splits:
            self._splits = load_splits(self.parts.dataset, self.parts.config, SPLITS)
        return self._splits[name]

    def inputs(self, split: str, condition: Disturbance = CLEAN) -> Arrays:
        """A split's inputs by modality, ``[n, C, H, W]`` or ``[n, T, C, H, W]``, as a network gets them."""
        loader, cpu = self._loader(split), torch.device("cpu")
        batches = [corrupted_inputs(batch, loader, cpu, condition, self.seed) for batch in loader]
        return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}

    @cached_property
    def temperatures(self) -> dict[Modality, float]:
        """By modality, the temperature that calibrates its network of ``needs``.

        It is fitted to the clean validation split of the task that the network was trained on.
        """
        found = {}
        for modality, needed in self.cell.needs.items():
            parts = self.network(needed)
            held_out = load_splits(parts.dataset, parts.config, ["validation"])["validation"]
            given = self._predictions(parts, evaluation_loader(held_out, parts.config), CLEAN)
            found[modality] = temperature(given.logits.double().numpy(), given.targets.numpy())
        return found

    def opinions(self, split: str, condition: Disturbance = CLEAN) -> Arrays:
        """By modality, the calibrated probabilities ``[n, K]`` of its network of ``needs`` for a split's samples.

        They are softmax(z / T), with the network's logits z and its temperature T.
        """
        found: Arrays = {}
        for modality, needed in self.cell.needs.items():
            logits = self._predictions(self.network(needed), self._loader(split), condition).logits.double()
            found[modality] = (logits / self.temperatures[modality]).softmax(1).numpy()
        return found

    def _predictions(self, parts: Assembly, loader: Loader, condition: Disturbance) -> Predictions:
        model, loss = parts.model.to(self.device), parts.loss.to(self.device)
        return evaluate(model, loss, loader, self.device, disturbance=condition, seed=self.seed).predictions

    def _loader(self, split: str) -> Loader:
        return evaluation_loader(self.split(split), self.parts.config)
