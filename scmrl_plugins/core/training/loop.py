"""The training loop: epochs of steps, each epoch evaluated, logged and saved."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed

from scmrl_plugins.core.config.sections import TrainConfig
from scmrl_plugins.core.data.loading import Batch, evaluation_loader
from scmrl_plugins.core.data.prepare import Prepared, prepare
from scmrl_plugins.core.evaluation.contribution import contribution
from scmrl_plugins.core.evaluation.evaluate import Evaluation, evaluate
from scmrl_plugins.core.evaluation.metrics import scalars
from scmrl_plugins.core.measure.health import Health
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.parallel.processes import Processes, accelerator
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.system import memory, seeds
from scmrl_plugins.core.system.interrupts import Interrupted, Interrupts
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import lines, plan
from scmrl_plugins.core.training.batches import Steps
from scmrl_plugins.core.training.learner import Learner
from scmrl_plugins.core.training.not_finite import NotFinite
from scmrl_plugins.core.training.recipe import Schedule
from scmrl_plugins.core.training.saving import Saving
from scmrl_plugins.core.training.step import StepResult
from scmrl_plugins.core.training.tokens import FromTokens, TokenCache
from scmrl_plugins.core.training.trackers import Trackers


def train(run: Run, parts: Assembly, device: torch.device, progress: Progress) -> Evaluation:
    """``Training(parts, device, progress).fit(run)``."""
    return Training(parts, device, progress).fit(run)


class Training:
    """The training of an experiment; ``fit`` runs it.

    ``honest`` protocol: the best epoch by the validation split, the test split read once, at the end.
    ``published``: training also on the validation samples, the best epoch by the test split itself, as in the
    papers; that accuracy is optimistic, as reports say. ``with_contribution``: whether the test also measures the
    cross-modal contribution. Raises ``UserError`` for an optimizer, precision or tracker that does not work here.
    """

    data: Prepared
    steps: Steps
    schedule: Schedule

    def __init__(
        self, parts: Assembly, device: torch.device, progress: Progress, *, with_contribution: bool = True
    ) -> None:
        self.parts, self.with_contribution = parts, with_contribution
        self.recipe: TrainConfig = parts.config.train
        self.chooser = "test" if self.recipe.protocol == "published" else "validation"
        self.state = TrainingState()
        self.prepared = False
        self.accelerator, self.processes = accelerator(device, self.recipe.precision)
        self.device = self.accelerator.device
        self.progress = progress if self.processes.main else Progress.silent()
        if self.device.type != "cpu":
            self.progress.line(
                f"{self.device} adds in no fixed order: the same seed gives nearly, not exactly, the same weights"
            )
        self.trackers = Trackers(self.recipe.trackers, self.accelerator, self.progress)
        self.learner = Learner(parts, self.accelerator, self.processes)

    def prepare(self) -> None:
        """Compute the features that are not stored yet, and open the splits; ``UserError`` for unusable data.

        ``parts.config`` then has what the data set measured of the training split.
        """
        with self.accelerator.main_process_first():  # the main process computes them and shows its progress
            self.data = prepare(self.parts.dataset, self.parts.config, progress=self.progress)
        self.parts = _measured(self.parts, self.data.settings)
        if self.data.bad:
            self.progress.line(f"{len(self.data.bad)} bad files are left out; the run lists them in skipped.json")
        names = ["train", "validation"] if self.chooser == "test" else ["train"]
        splits = [self.data.splits[name] for name in names]
        self.steps = Steps(splits, self.parts.config, self.processes)
        self.schedule = self.learner.schedule(self.steps.per_epoch)
        self.learner.check_single(self.steps.single())
        self.prepared = True

    def fit(self, run: Run, resume: str = "") -> Evaluation:
        """Train to the end of the recipe, from the newest checkpoint of the run or from its saved weights.

        Prepares the data unless ``prepare`` did. Returns the test result of the best epoch. Ctrl-C or SIGTERM
        finishes the step, saves, names the command to ``resume`` with and raises ``Interrupted``. Raises
        ``UserError`` if another process trains the run, or one of its files is damaged or cannot be written.
        """
        if not self.prepared:
            self.prepare()
        lock = run.locked() if self.processes.main else contextlib.nullcontext()
        stop = Interrupts(resume or f"scmrl train {run.path}")
        with lock, seeds.kept(self.device), stop, contextlib.closing(self.trackers):
            try:
                return self._fit(run, stop)
            finally:
                self.accelerator.end_training()

    def _fit(self, run: Run, interrupts: Interrupts) -> Evaluation:
        self.run, self.interrupts = run, interrupts
        scaler = self.accelerator.scaler
        self.saving = Saving(run, self.learner, scaler, self.processes, self.recipe.keep_checkpoints)
        self.not_finite = NotFinite(self.recipe.on_nan, self.learner.module, self.saving, self.progress)
        self.state = self.saving.resume(self.progress, self.recipe.epochs)
        if self.recipe.cache_tokens:
            self.steps.tokens = TokenCache(self.parts, self.device, self.progress)
        show = self.trackers.start(run, self.steps.done(self.state))
        self.health = Health(self.recipe.on_dead, self.data.splits[self.chooser], show, self.progress)
        if self.processes.main:
            run.write_skipped(self.data.bad)
            if self.data.settings:
                run.write_config(self.parts.config)
        if self.recipe.on_nan == "rollback" and not run.checkpoints():
            self.saving.save(self.state)
        while self.state.epoch < self.recipe.epochs and not self._out_of_patience():
            self._epoch()
        return self._test()

    def _out_of_patience(self) -> bool:
        """Whether the recipe's patience has passed without a better epoch."""
        waited = self.state.epoch - self.state.best_epoch
        if self.recipe.patience is None or waited < self.recipe.patience:
            return False
        self.progress.line(f"stopping: no epoch was better than epoch {self.state.best_epoch} for {waited} epochs")
        return True

    def _test(self) -> Evaluation:
        """The test result of the best epoch, which becomes the last line of the metrics."""
        self.processes.barrier()  # until the weights of the best epoch are written
        weights.load_weights(self.run.weights_file, self.parts.model)
        result = self._evaluate(self.parts.model, "test", "test", blanked=True)
        split = self.data.splits["test"]
        if self.processes.main:
            if self.with_contribution and len(split) > 1:
                result.contribution = contribution(self.parts.model, split, self.device, progress=self.progress)
            self.run.add_metrics(lines.test_line(self.state, self.recipe.protocol, len(self.data.bad), result))
            tested = {f"test_{name}": value for name, value in scalars(result.metrics).items()}
            self.trackers.log(tested, self.steps.done(self.state))
        return result

    def _epoch(self) -> None:
        """The steps of an epoch that are left, its evaluation, and its checkpoint."""
        state, epoch = self.state, self.state.epoch + 1
        started = time.monotonic()
        self._train()
        result = self._evaluate(
            self.learner.evaluated, self.chooser, f"{self.chooser} {epoch}/{self.recipe.epochs}", self.steps.tokens
        )
        figures = lines.epoch_line(state, self.learner.lr, self.chooser, result, time.monotonic() - started)
        state.epoch, state.step, state.sums = epoch, 0, {}
        accuracy, loss, monitor = result.metrics["accuracy"], result.metrics["loss"], self.recipe.monitor
        if _score(monitor, accuracy, loss) > _score(monitor, state.best_accuracy, state.best_loss):
            state.best_epoch, state.best_accuracy, state.best_loss = epoch, accuracy, loss
        # In this order, so that a run that is stopped in between resumes as the same run.
        self._log(figures)
        self.saving.save(state)
        if state.best_epoch == epoch:
            self.saving.save_best(state)
        self.progress.line(
            f"epoch {epoch}/{self.recipe.epochs}  loss {figures['train_loss']:.3f}  "
            f"accuracy {figures['train_accuracy']:.2%}  {self.chooser} {accuracy:.2%}"
        )
        self.health.check(epoch, self.steps.done(state), self.learner.evaluated, result.firing_rates)
        if self.processes.any(self.interrupts.requested):
            raise Interrupted

    def _train(self) -> None:
        """Train the steps of an epoch that are left, and add their sums to the state."""
        state = self.state
        self.learner.start_epoch(self.steps, state)
        self.schedule.set_rate(state.epoch, state.step)
        self.progress.stage(f"epoch {state.epoch + 1}/{self.recipe.epochs}", self.steps.per_epoch - state.step)
        saved = logged = time.monotonic()
        for batches in self.steps.remaining(state):
            result = self._step(batches)
            state.step += 1
            self.progress.advance(1, **lines.means(state.sums))
            if not result.not_finite and state.step % self.recipe.log_steps == 0:
                now = time.monotonic()
                self._log(lines.step_line(state, self.learner.lr, result, now - logged))
                logged = now
            stop = self.processes.any(self.interrupts.requested)
            if stop or self._checkpoint_due(time.monotonic() - saved):
                self.saving.save(state)
                saved = time.monotonic()
            if stop:
                raise Interrupted

    def _checkpoint_due(self, seconds: float) -> bool:
        every = self.recipe.checkpoint_steps
        return seconds >= 60 * self.recipe.checkpoint_minutes or bool(every and self.state.step % every == 0)

    def _step(self, batches: list[Batch]) -> StepResult:
        """One step, added to the sums of the epoch, or treated as not finite."""
        state, draw = self.state, (self.recipe.seed, self.state.epoch, self.state.step)
        # All random numbers of a step follow from seed, epoch and step, so that a resumed run draws the same.
        set_seed(_seed(*draw, *_rank(self.processes)))
        self.schedule.set_rate(state.epoch, state.step)
        self.not_finite.before_step()
        result = self._within_memory(batches, draw)
        if result.not_finite:
            self.not_finite.after_step(f"{result.not_finite} in {self.steps.describe(state)}", state.sums)
            return result
        self.learner.update_average()
        self.not_finite.after_step("", state.sums)
        lines.add(state.sums, result)
        return result

    def _within_memory(self, batches: list[Batch], draw: tuple[int, ...]) -> StepResult:
        """One step; ``UserError`` if it takes more memory than is available, with the batch size that fits."""
        try:
            return self.learner.step(batches, self.steps.sizes(self.state), draw)
        except Exception as error:
            if not memory.out_of_memory(error):
                raise
            batches.clear()
        # Outside of the handler, as the error's frames hold the tensors of the step.
        self.learner.optimizer.zero_grad()
        raise plan.memory_error(self.parts, self.device, self.processes.count)

    def _evaluate(self, model: Any, split: str, stage: str, tokens: Any = None, **more: Any) -> Evaluation:
        loader = evaluation_loader(self.data.splits[split], self.parts.config, self.processes)
        evaluated: Any = FromTokens(model) if tokens else model
        loader = tokens.loader(loader) if tokens else loader
        self.progress.stage(stage, len(loader))
        more |= {"progress": self.progress, "processes": self.processes}
        return evaluate(evaluated, self.parts.loss, loader, self.device, **more)

    def _log(self, figures: Mapping[str, Any]) -> None:
        """Add a line to the metrics and pass it to the trackers."""
        if self.processes.main:
            self.run.add_metrics(figures)
            self.trackers.log(figures, self.steps.done(self.state))


def _measured(parts: Assembly, settings: Mapping[str, Any]) -> Assembly:
    """The parts with what the data set measured in their configuration."""
    section = parts.config.dataset.model_copy(update=settings)
    return dataclasses.replace(parts, config=parts.config.model_copy(update={"dataset": section}))


def _score(monitor: str, accuracy: float, loss: float) -> tuple[float, float]:
    """The order of epochs. Small validation splits make equal accuracies common: then the loss decides."""
    return (-loss, accuracy) if monitor == "loss" else (accuracy, -loss)


def _rank(processes: Processes) -> list[int]:
    """A word of the seed by which each process but the main one draws its own random numbers."""
    return [] if processes.main else [processes.rank]


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
