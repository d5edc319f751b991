"""The training loop: accelerate for devices and precision, timm for optimiser and schedule."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from scmrl_plugins.core import checkpoint, report
from scmrl_plugins.core.assembly import Assembly
from scmrl_plugins.core.checkpoint import TrainingState
from scmrl_plugins.core.config import TrainConfig
from scmrl_plugins.core.data import evaluation_loader, prepare, training_loader
from scmrl_plugins.core.evaluation import Evaluation, evaluate
from scmrl_plugins.core.features import FeatureSplit
from scmrl_plugins.core.mixing import mix
from scmrl_plugins.core.progress import Progress
from scmrl_plugins.core.run import Run
from scmrl_plugins.registry import UserError


def train(run: Run, parts: Assembly, device: torch.device, progress: Progress) -> Evaluation:
    """``Training(parts, device, progress).fit(run)``."""
    return Training(parts, device, progress).fit(run)


class Training:
    """The training of an experiment, with data, optimiser and schedule ready; ``fit`` runs it.

    ``honest`` protocol: the best epoch by the validation split, the test split read once, at the end.
    ``published``: training also on the validation samples, the best epoch by the test split itself, as in the
    papers; the figure is optimistic and says so wherever it is shown. Raises ``UserError`` for data that is
    not there, or an optimiser or precision that does not work here.
    """

    def __init__(self, parts: Assembly, device: torch.device, progress: Progress) -> None:
        self.parts, self.device, self.progress = parts, device, progress
        self.recipe: TrainConfig = parts.config.train
        self.published = self.recipe.protocol == "published"
        self.chooser = "test" if self.published else "validation"
        self.state = TrainingState()

        self.data = prepare(parts.dataset, parts.config, progress=progress)
        self.splits = self.data.splits
        if self.data.bad:
            progress.line(f"{len(self.data.bad)} bad files are left out; the run lists them in skipped.json")
        fitted = ["train", "validation"] if self.published else ["train"]
        loader, self.sampler = training_loader([self.splits[name] for name in fitted], parts.config)

        self.accelerator = _accelerator(device, self.recipe)
        self.module = nn.ModuleDict({"model": parts.model, "loss": parts.loss}).to(device)
        optimizer = _optimizer(self.module, self.recipe)
        self.scheduler, _ = create_scheduler_v2(
            optimizer,
            sched="cosine",
            num_epochs=self.recipe.epochs,
            warmup_epochs=self.recipe.warmup_epochs or 0,
            warmup_lr=self.recipe.warmup_lr,
            min_lr=self.recipe.min_lr,
        )
        self.model, self.loss, self.optimizer, self.loader = self.accelerator.prepare(
            parts.model, parts.loss, optimizer, loader
        )

    def fit(self, run: Run) -> Evaluation:
        """Train to the end of the recipe, from the newest checkpoint of the run or from its saved weights.

        Returns the test result of the best epoch, which is also the last line of the run's metrics.
        """
        self._resume(run)
        run.write_skipped(self.data.bad)
        lines = run.metrics()
        for epoch in range(self.state.epoch, self.recipe.epochs):
            started = time.monotonic()
            figures = self._epoch(epoch)
            chosen = self._evaluate(self.splits[self.chooser], f"{self.chooser} {epoch + 1}/{self.recipe.epochs}")
            figures |= {
                f"{self.chooser}_loss": chosen.loss,
                f"{self.chooser}_accuracy": chosen.accuracy,
                "seconds": round(time.monotonic() - started, 3),
            }
            lines.append(figures)
            self._save(run, epoch + 1, chosen, lines)
            self.progress.line(
                f"epoch {epoch + 1}/{self.recipe.epochs}  loss {figures['train_loss']:.3f}  "
                f"accuracy {figures['train_accuracy']:.2%}  {self.chooser} {chosen.accuracy:.2%}"
            )
        checkpoint.load_weights(run.weights_file, self.parts.model)
        result = self._evaluate(self.splits["test"], "test")
        lines.append(
            {
                "split": "test",
                "protocol": self.recipe.protocol,
                "best_epoch": self.state.best_epoch,
                "skipped": len(self.data.bad),
            }
            | result.as_dict()
        )
        run.write_metrics(lines)
        report.write(run)
        return result

    def _resume(self, run: Run) -> None:
        saved = run.checkpoints()
        if saved:
            self.state = checkpoint.load_training(saved[-1], self.module, self.optimizer.optimizer)
        # A stop while saving leaves a line without its checkpoint, or a checkpoint without its best weights.
        run.write_metrics([line for line in run.metrics() if line.get("epoch", math.inf) <= self.state.epoch])
        if saved:
            if self.state.best_epoch == self.state.epoch:
                self._save_weights(run)
            self.progress.line(f"going on after epoch {self.state.epoch} of {self.recipe.epochs}")

    def _epoch(self, epoch: int) -> dict[str, Any]:
        # Every draw of an epoch follows from the seed and the epoch, so a run that went on is the same run.
        set_seed(_epoch_seed(self.recipe.seed, epoch))
        self.sampler.epoch = epoch
        self.scheduler.step(epoch)
        self.model.train()
        self.loss.train()
        self.progress.stage(f"epoch {epoch + 1}/{self.recipe.epochs}", len(self.loader))
        seen, correct, total = 0, 0, 0.0
        terms: dict[str, float] = {}
        for step, batch in enumerate(self.loader):
            target = batch.pop("label")
            mixed = mix(batch, self.parts.config.data, np.random.default_rng([self.recipe.seed, epoch, step]))
            output = self.model(**(mixed.inputs if mixed else batch))
            loss, parts = self.loss(output, target)
            if mixed:
                loss = torch.lerp(self.loss(output, target[mixed.partner])[0], loss, mixed.share)
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(
                    f"the loss is {value} in epoch {epoch + 1}, step {step + 1}: try a smaller train.lr or "
                    f"train.clip_grad; the run is as it was after epoch {epoch}"
                )
            self.accelerator.backward(loss)
            if self.recipe.clip_grad:
                self.accelerator.clip_grad_norm_(self.module.parameters(), self.recipe.clip_grad)
            self.optimizer.step()
            self.optimizer.zero_grad()

            n = len(target)
            seen += n
            total += value * n
            correct += int((output.logits.argmax(1) == target).sum())
            for name, term in parts.items():
                terms[name] = terms.get(name, 0.0) + term.item() * n
            self.progress.advance(loss=total / seen, accuracy=correct / seen)
        return {
            "epoch": epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": total / seen,
            "train_accuracy": correct / seen,
            "terms": {name: summed / seen for name, summed in terms.items()},
        }

    def _evaluate(self, split: FeatureSplit, name: str) -> Evaluation:
        loader = evaluation_loader(split, self.parts.config)
        self.progress.stage(name, len(loader))
        return evaluate(self.parts.model, self.parts.loss, loader, self.device, progress=self.progress)

    def _save(self, run: Run, epoch: int, chosen: Evaluation, lines: list[dict[str, Any]]) -> None:
        self.state.epoch = epoch
        # The smaller loss decides between equal accuracies, which small validation splits make common.
        if (chosen.accuracy, -chosen.loss) > (self.state.best_accuracy, -self.state.best_loss):
            self.state.best_epoch, self.state.best_accuracy = epoch, chosen.accuracy
            self.state.best_loss = chosen.loss
        # In this order, so that a run stopped in between goes on as the same run.
        run.write_metrics(lines)
        checkpoint.save_training(run.checkpoint_file(epoch), self.module, self.optimizer.optimizer, self.state)
        if self.state.best_epoch == epoch:
            self._save_weights(run)
        for old in run.checkpoints()[: -self.recipe.keep_checkpoints]:
            old.unlink()

    def _save_weights(self, run: Run) -> None:
        metadata = {"epoch": str(self.state.epoch)}
        checkpoint.save_weights(run.weights_file, self.parts.model, metadata)


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed + 1_000_003 * (epoch + 1)) % 2**32


def _accelerator(device: torch.device, recipe: TrainConfig) -> Accelerator:
    precision = {"fp32": "no"}.get(recipe.precision, recipe.precision)
    if not PartialState().use_distributed:
        # Accelerate keeps one state a process and refuses another precision or device than the first's.
        AcceleratorState._reset_state(reset_partial_state=True)
    try:
        return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"train.precision = {recipe.precision!r} does not work on {device}: {error}") from None


def _optimizer(module: nn.Module, recipe: TrainConfig) -> torch.optim.Optimizer:
    try:
        return create_optimizer_v2(module, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay)
    except (ValueError, AssertionError, ImportError) as error:
        raise UserError(f"train.optimizer = {recipe.optimizer!r}: timm cannot make it: {error}") from None
