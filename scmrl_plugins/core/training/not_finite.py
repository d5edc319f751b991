"""What happens to a training step whose loss or gradient is not finite: ``train.on_nan``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.saving import Saving
from scmrl_plugins.registry import UserError

MOST_IN_A_ROW = 10
"""Steps in a row that may be left out before the run stops."""


class NotFinite:
    """The policy ``stop``, ``skip`` or ``rollback`` for the steps of a run.

    ``skip`` leaves the step out: it restores the buffers of ``module``, since a forward pass spoils the statistics
    of batch norm. ``rollback`` returns to the weights of the newest checkpoint and continues after the step.
    """

    def __init__(self, policy: str, module: nn.Module, saving: Saving, progress: Progress) -> None:
        self.policy, self.module = policy, module
        self.saving, self.progress = saving, progress
        self._buffers: dict[str, Tensor] = {}

    def before_step(self) -> None:
        """Keep what a step may spoil."""
        if self.policy == "skip":
            self._buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}

    def after_step(self, not_finite: str, sums: dict[str, float]) -> None:
        """Count the step in ``sums``, and apply the policy where ``not_finite`` says what happened, and where.

        Raises ``UserError`` if the policy is ``stop``, or too many steps in a row were not finite.
        """
        if not not_finite:
            sums["lost in a row"] = 0
            return
        sums["lost"], sums["lost in a row"] = sums.get("lost", 0) + 1, sums.get("lost in a row", 0) + 1
        if self.policy == "stop" or sums["lost in a row"] >= MOST_IN_A_ROW:
            saved = self.saving.run.checkpoints()
            state = f"the run is in the state of {saved[-1].name}" if saved else "the run has no checkpoint yet"
            raise UserError(
                f"{not_finite}: try a smaller train.lr, train.clip_grad, or train.on_nan = 'skip'; {state}"
            )
        if self.policy == "skip":
            with torch.no_grad():
                for name, buffer in self.module.named_buffers():
                    buffer.copy_(self._buffers[name])
            self.progress.line(f"warning: {not_finite}: the step is left out")
        else:
            path = self.saving.restore_last()
            self.progress.line(
                f"warning: {not_finite}: restored the weights of {path.name}, continuing after the step"
            )
