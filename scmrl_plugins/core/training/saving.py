"""The checkpoints and the best weights of a run in training, and resuming from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scmrl_plugins.core.parallel.processes import Processes
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.learner import Learner
from scmrl_plugins.registry import UserError


class Saving:
    """Saves and restores a learner, and in half precision the scaler of its loss, in the directory of a run.

    The main process writes, all processes read. ``keep``: how many checkpoints.
    """

    def __init__(
        self, run: Run, learner: Learner, scaler: torch.amp.GradScaler | None, processes: Processes, keep: int
    ) -> None:
        self.run, self.learner, self.scaler = run, learner, scaler
        self.processes, self.keep = processes, keep

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint and remove those beyond the newest ``keep``."""
        if not self.processes.main:
            return
        self.run.check_there()
        path = self.run.checkpoint_file(state.epoch, state.step)
        weights.save_training(path, self.learner.module, self.learner.optimizer.optimizer, state, self.scaler)
        for old in self.run.checkpoints()[: -self.keep]:
            old.unlink()

    def save_best(self, state: TrainingState) -> None:
        """Write the weights of the best epoch so far."""
        if self.processes.main:
            self.run.check_there()
            weights.save_weights(self.run.weights_file, self.learner.evaluated, {"epoch": str(state.epoch)})

    def load(self, path: Path) -> TrainingState:
        """Read a checkpoint; ``DamagedFileError`` for one whose content is not what was written."""
        return weights.load_training(path, self.learner.module, self.learner.optimizer.optimizer, self.scaler)

    def restore_last(self) -> Path:
        """Read the weights of the newest checkpoint again; its path."""
        self.processes.barrier()  # until the main process has written it
        path = self.run.checkpoints()[-1]
        self.load(path)
        self.processes.barrier()  # until all have read it
        return path

    def resume(self, progress: Progress, epochs: int) -> TrainingState:
        """Restore the newest checkpoint that is not damaged, and drop the metrics that were written after it.

        Raises ``UserError`` if there are checkpoints but all are damaged.
        """
        saved = self.run.checkpoints()
        state = self._newest(saved, progress)
        self.processes.barrier()  # until all have read it
        lines = self.run.metrics()
        if self.processes.main:
            # A stop while saving leaves half a line, a line without its checkpoint, or a checkpoint without its
            # best weights.
            self.run.write_metrics([line for line in lines if _position(line) <= (state.epoch, state.step)])
        if saved:
            if not state.step and state.best_epoch == state.epoch:
                self.save_best(state)
            done = f"epoch {state.epoch}" + (f", step {state.step}" if state.step else "")
            progress.line(f"resuming after {done} of {epochs} epochs")
        return state

    def _newest(self, saved: list[Path], progress: Progress) -> TrainingState:
        damaged: list[str] = []
        for path in reversed(saved):
            try:
                state = self.load(path)
            except weights.DamagedFileError as error:
                damaged.append(str(error))
                continue
            for message in damaged:
                progress.line(f"warning: {message}; resuming from the checkpoint before it")
            return state
        if damaged:
            raise UserError(
                f"{damaged[0]}; no checkpoint before it can be read either: train again with -c config.toml"
            )
        # The process that created the run may have started it from the weights of other runs.
        self.learner.load_weights(self.run.weights_file)
        return TrainingState()


def _position(line: Mapping[str, Any]) -> tuple[float, float]:
    """After which epoch, and step of the next one, a line of the metrics was written; test results come last."""
    if "of_epoch" in line:
        return line["of_epoch"] - 1, line["step"]
    return line.get("epoch", math.inf), 0
