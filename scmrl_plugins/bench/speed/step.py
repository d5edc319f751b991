"""One step of a variant, on a random batch."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.core.system.private import BatchNorm
from scmrl_plugins.core.training.step import Step as TrainingStep

CLASSES, CHANNELS = 6, {"audio": 1, "visual": 3}
"""Those of CREMA-D, on which the model is published."""


class Step:
    """A model, its loss and optimizer, and one random batch; ``train()`` and ``infer()`` run one step each.

    With ``every_step`` a static input is copied to every time step, so that the first layer runs on each.
    """

    def __init__(self, config: ExperimentConfig, device: torch.device, *, every_step: bool = False) -> None:
        classes = [f"class {number}" for number in range(CLASSES)]
        self.model, self.loss = assemble_model(config, classes, CHANNELS)
        if every_step:
            for encoder in self.model.encoders.values():
                encoder.register_forward_hook(lambda _module, _inputs, steps: steps.contiguous())
        self.model.to(device)
        self.loss.to(device)
        for module in self.model.modules():
            if isinstance(module, BatchNorm):
                module.momentum = 1.0  # a few steps suffice for neurons to fire in inference as in training
        inputs = operations.random_inputs(self.model, device, config.train.batch_size)
        self.inputs = {name: x for name, x in inputs.items() if name in self.model.modalities}
        generator = torch.Generator().manual_seed(1)
        self.target = torch.randint(CLASSES, (config.train.batch_size,), generator=generator).to(device)
        # In training timm chooses the parameters that decay: no cost per step, but six seconds at the start.
        parameters = [p for part in (self.model, self.loss) for p in part.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, config.train.lr or 1e-4, weight_decay=1e-4)
        self.step = TrainingStep(self.model, self.loss, optimizer)

    def train(self) -> float:
        """Forward, loss, backward, optimizer; the value of the loss."""
        return self.step([{**self.inputs, "label": self.target}]).loss

    def infer(self) -> Tensor:
        """The logits."""
        with torch.no_grad():
            return self.model(**self.inputs).logits
