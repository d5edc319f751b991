"""The training loop: accelerate for devices and precision, timm for optimiser and schedule."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device, set_seed
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from scmrl_plugins.core.config.sections import TrainConfig
from scmrl_plugins.core.data.loading import Batch, evaluation_loader, training_loader
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.evaluation.evaluate import Evaluation, evaluate
from scmrl_plugins.core.evaluation.metrics import scalars
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.batch_norm import synchronize
from scmrl_plugins.core.parallel.processes import accelerator
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.system import memory
from scmrl_plugins.core.system.interrupts import Interrupts
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training import plan, recipe, trackers
from scmrl_plugins.core.training.mixing import mix
from scmrl_plugins.registry import UserError

_TERM = "term "
"""How the sums name the terms of the loss."""


_EVALUATION = 2**32 - 1
"""In place of a step, for what an evaluation draws."""
_LOST = 10
"""Steps in a row that may come to nothing before a run that leaves them out stops."""


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
        self.parts = parts
        self.recipe: TrainConfig = parts.config.train
        self.published = self.recipe.protocol == "published"
        self.chooser = "test" if self.published else "validation"
        self.state = TrainingState()
        self.last: dict[str, float | None] = {}
        """The figures of the last step."""
        trackers.check(self.recipe.trackers)
        self.accelerator, self.processes = accelerator(device, self.recipe.precision)
        self.device = self.accelerator.device
        self.progress = progress if self.processes.main else Progress.silent()
        if self.device.type != "cpu":
            self.progress.line(
                f"{self.device} adds up in no fixed order: the same seed gives about the same weights, not quite"
            )

        with self.accelerator.main_process_first():  # it computes the features, and says so
            self.data = prepare(parts.dataset, parts.config, progress=self.progress)
        self.splits = self.data.splits
        if self.data.bad:
            self.progress.line(f"{len(self.data.bad)} bad files are left out; the run lists them in skipped.json")
        fitted = ["train", "validation"] if self.published else ["train"]
        self.loader, self.sampler = training_loader(
            [self.splits[name] for name in fitted], parts.config, self.processes
        )

        if self.processes.count > 1 and self.recipe.sync_batch_norm:
            synchronize(parts.model, self.processes)
        self.module = nn.ModuleDict({"model": parts.model, "loss": parts.loss}).to(self.device)
        self.frozen = recipe.freeze(parts.model, self.recipe)
        optimizer = recipe.optimizer(self.module, parts.config)
        self.average = ModelEmaV3(parts.model, decay=self.recipe.ema) if self.recipe.ema else None
        if self.average:
            self.module["average"] = self.average.module  # so that checkpoints have it
        self.judged = self.average.module if self.average else parts.model
        self.scheduler = recipe.schedule(optimizer, self.recipe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, about how accelerate calls it
            self.model, self.optimizer = self.accelerator.prepare(parts.model, optimizer)
        # Every process computes the loss of the whole batch, so its gradients need not be brought together.
        self.loss = self.accelerator.prepare_model(parts.loss, evaluation_mode=True)

    def fit(self, run: Run, after_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> Evaluation:
        """Train to the end of the recipe, from the newest checkpoint of the run or from its saved weights.

        ``after_epoch`` gets the figures of each epoch trained here, once they are saved. Returns the test result
        of the best epoch, which is also the last line of the run's metrics. Ctrl-C or SIGTERM finishes the step,
        saves, and raises ``KeyboardInterrupt``. Raises ``UserError`` where another process trains the run, or
        something of it is damaged or cannot be written.
        """
        with self._alone(run), Interrupts() as interrupts:
            try:
                self._resume(run)
                trackers.start(self.accelerator, self.recipe.trackers, run, self._steps_done)
                return self._fit(run, interrupts, after_epoch)
            finally:
                self.accelerator.end_training()

    def _fit(
        self, run: Run, interrupts: Interrupts, after_epoch: Callable[[Mapping[str, Any]], None] | None
    ) -> Evaluation:
        if self.processes.main:
            run.write_skipped(self.data.bad)
        if self.recipe.on_nan == "rollback" and not run.checkpoints():
            self._save(run)
        while self.state.epoch < self.recipe.epochs and not self._patient_enough():
            figures = self._epoch(run, interrupts)
            if after_epoch:
                after_epoch(figures)
        self.processes.wait()  # for the weights of the best epoch
        weights.load_weights(run.weights_file, self.parts.model)
        result = self._evaluate(self.parts.model, self.splits["test"], "test")
        if self.processes.main:
            self._conclude(run, result)
        return result

    def _alone(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """The run's lock, which is the main process's."""
        return run.locked() if self.processes.main else contextlib.nullcontext()

    def _conclude(self, run: Run, result: Evaluation) -> None:
        """The test result as the last line of the metrics."""
        figures = {
            "split": "test",
            "protocol": self.recipe.protocol,
            "best_epoch": self.state.best_epoch,
            "skipped": len(self.data.bad),
        }
        run.add_metrics(figures | result.as_dict())
        tested = {f"test_{name}": value for name, value in scalars(result.metrics).items()}
        self.accelerator.log(tested, step=self._steps_done)

    def _patient_enough(self) -> bool:
        """Whether no epoch was better than the best for as long as the recipe waits."""
        waited = self.state.epoch - self.state.best_epoch
        if self.recipe.patience is None or waited < self.recipe.patience:
            return False
        self.progress.line(f"no epoch was better than epoch {self.state.best_epoch} for {waited} epochs: done")
        return True

    def _resume(self, run: Run) -> None:
        """Take up the newest checkpoint that is whole, and what the metrics say up to there."""
        saved = run.checkpoints()
        damaged: list[str] = []
        for path in reversed(saved):
            try:
                self.state = self._load(path)
            except weights.DamagedFileError as error:
                damaged.append(str(error))
                continue
            for complaint in damaged:
                self.progress.line(f"warning: {complaint}; going back to the checkpoint before it")
            break
        else:
            if damaged:
                raise UserError(f"{damaged[0]}; no checkpoint before it is whole: train again with -c config.toml")
        self.processes.wait()  # for all to have read, before one writes
        lines = run.metrics()
        kept = [line for line in lines if _position(line) <= (self.state.epoch, self.state.step)]
        if self.processes.main:
            # A stop while saving leaves half a line, a line without its checkpoint, or a checkpoint without its
            # best weights.
            run.write_metrics(kept)
        if saved:
            if not self.state.step and self.state.best_epoch == self.state.epoch:
                self._save_weights(run)
            done = f"epoch {self.state.epoch}" + (f", step {self.state.step}" if self.state.step else "")
            self.progress.line(f"going on after {done} of {self.recipe.epochs} epochs")

    def _epoch(self, run: Run, interrupts: Interrupts) -> Mapping[str, Any]:
        """The rest of an epoch, its validation, and the checkpoint after it; its figures."""
        epoch, state = self.state.epoch, self.state
        started = time.monotonic()
        self._train(run, interrupts)
        name = f"{self.chooser} {epoch + 1}/{self.recipe.epochs}"
        chosen = self._evaluate(self.judged, self.splits[self.chooser], name)
        n = max(1, state.sums.get("samples", 0))
        figures = {
            "epoch": epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": state.sums.get("loss", 0.0) / n,
            "train_accuracy": state.sums.get("correct", 0) / n,
            "terms": {
                key.removeprefix(_TERM): value / n for key, value in state.sums.items() if key.startswith(_TERM)
            },
            **{f"{self.chooser}_{name}": value for name, value in scalars(chosen.metrics).items()},
            "seconds": round(time.monotonic() - started, 3),
        }
        if state.sums.get("lost"):
            figures["lost_steps"] = state.sums["lost"]
        state.epoch, state.step, state.sums = epoch + 1, 0, {}
        # The smaller loss decides between equal accuracies, which small validation splits make common.
        accuracy, loss = chosen.metrics["accuracy"], chosen.metrics["loss"]
        if (accuracy, -loss) > (state.best_accuracy, -state.best_loss):
            state.best_epoch, state.best_accuracy, state.best_loss = epoch + 1, accuracy, loss
        # In this order, so that a run stopped in between goes on as the same run.
        self._note(run, figures)
        self._save(run)
        if state.best_epoch == epoch + 1:
            self._save_weights(run)
        self.progress.line(
            f"epoch {epoch + 1}/{self.recipe.epochs}  loss {figures['train_loss']:.3f}  "
            f"accuracy {figures['train_accuracy']:.2%}  {self.chooser} {accuracy:.2%}"
        )
        if self.processes.any(interrupts.asked):
            raise KeyboardInterrupt
        return figures

    def _train(self, run: Run, interrupts: Interrupts) -> None:
        """The steps of an epoch that are left; what they sum up to goes into the state."""
        epoch, state = self.state.epoch, self.state
        self.sampler.epoch, self.sampler.start = epoch, state.step * self._samples_a_step
        self.scheduler.step(epoch)
        self.model.train()
        self.loss.train()
        for module in self.frozen:
            module.eval()  # its statistics stay too
        steps = math.ceil(len(self.loader) / self.recipe.accumulate)
        self.progress.stage(f"epoch {epoch + 1}/{self.recipe.epochs}", steps)
        saved = noted = time.monotonic()
        batches = iter(self.loader)
        while step := list(itertools.islice(batches, self.recipe.accumulate)):
            # Every draw of a step follows from seed, epoch and step, so a run that went on is the same run.
            set_seed(_seed(*self._place, *self._own_words))
            # A forward pass of what is not finite leaves its mark in the statistics of batch norm.
            keeps = self.recipe.on_nan == "skip"
            buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()} if keeps else {}
            if complaint := self._enough_memory_for(step):
                self._not_finite(run, complaint, buffers)
            else:
                state.sums["lost in a row"] = 0
            state.step += 1
            n = max(1, state.sums.get("samples", 0))
            self.progress.advance(loss=state.sums.get("loss", 0.0) / n, accuracy=state.sums.get("correct", 0) / n)
            if not complaint and state.step % self.recipe.log_steps == 0:
                now = time.monotonic()
                place = {"step": state.step, "of_epoch": epoch + 1}
                self._note(run, place | self.last | {"seconds": round(now - noted, 3)})
                noted = now
            stop = self.processes.any(interrupts.asked)
            if self._due(time.monotonic() - saved) or stop:
                self._save(run)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt

    def _enough_memory_for(self, step: list[Batch]) -> str:
        """``_step``; ``UserError`` where it takes more memory than there is, with the batch that would fit."""
        try:
            return self._step(step)
        except Exception as error:
            if not memory.out_of_memory(error):
                raise
            step.clear()
        # Behind the error, whose frames held what the step had made.
        self.optimizer.zero_grad()
        raise UserError(plan.complaint(self.parts, self.device, self.processes.count))

    def _note(self, run: Run, figures: Mapping[str, Any]) -> None:
        """A line of the metrics, which trackers get too."""
        if self.processes.main:
            run.add_metrics(figures)
            self.accelerator.log(trackers.scalars(figures), step=self._steps_done)

    @property
    def _steps_done(self) -> int:
        """Of the whole run."""
        samples = self.sampler.length
        return self.state.epoch * math.ceil(samples / self._samples_a_step) + self.state.step

    @property
    def _samples_a_step(self) -> int:
        return self.recipe.batch_size * self.recipe.accumulate

    def _due(self, seconds: float) -> bool:
        steps = self.recipe.checkpoint_steps
        return seconds >= 60 * self.recipe.checkpoint_minutes or bool(steps and self.state.step % steps == 0)

    def _step(self, batches: list[Batch]) -> str:
        """One step of the optimiser on one batch, or on several; what is not finite, if anything: no step then."""
        state, everyone = self.state, self.processes
        start = state.step * self._samples_a_step
        total = min(self._samples_a_step, self.sampler.length - start)
        found: dict[str, float] = {"samples": total}
        for place, batch in enumerate(batches):
            n = min(self.recipe.batch_size, total - place * self.recipe.batch_size)
            batch = send_to_device(batch, self.device)
            target = batch.pop("label")
            mixed = mix(batch, self.parts.config.data, np.random.default_rng([*self._place, place]))
            last = place == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                output = everyone.whole_output(self.model(**(mixed.inputs if mixed else batch)), n)
                targets = everyone.whole(target, n)
                loss, parts = self.loss(output, targets)
                if mixed:
                    own, whole = everyone.total(torch.tensor([mixed.own, mixed.whole], dtype=torch.float64))
                    other, _ = self.loss(output, everyone.whole(target[mixed.partner], n))
                    loss = torch.lerp(other, loss, float(own / whole))
                value = loss.item()
                if not math.isfinite(value):
                    return f"the loss is {value}"
                self.accelerator.backward(loss * (n / total) if len(batches) > 1 else loss)
            summands = {"loss": value * n, "correct": float((output.logits.argmax(1) == targets).sum())}
            summands |= {f"{_TERM}{name}": term.item() * n for name, term in parts.items()}
            for name, summand in summands.items():
                found[name] = found.get(name, 0.0) + summand
        everyone.average_statistics(self.parts.model)
        if (norm := self._gradient_norm()) is not None and not math.isfinite(norm):
            return f"the norm of the gradient is {norm}"
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.parts.model)
        for name, summand in found.items():
            state.sums[name] = state.sums.get(name, 0.0) + summand
        self.last = {
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": found["loss"] / total,
            "accuracy": found["correct"] / total,
            "gradient_norm": norm,
        }
        return ""

    @property
    def _place(self) -> tuple[int, int, int]:
        """What the draws of a step follow from."""
        return self.recipe.seed, self.state.epoch, self.state.step

    @property
    def _own_words(self) -> list[int]:
        """What else the draws of a process follow from, so that each makes its own; alone as the main one."""
        return [] if self.processes.main else [self.processes.rank]

    def _gradient_norm(self) -> float | None:
        """The norm of the gradient, which is clipped if the recipe says so; none where it is scaled."""
        if self.recipe.clip_grad:
            norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.recipe.clip_grad)
            return None if norm is None else float(norm)
        if self.recipe.precision == "fp16":
            return None  # its scaler looks for itself, and takes no step where the scale was too large
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _not_finite(self, run: Run, complaint: str, buffers: Mapping[str, Tensor]) -> None:
        """Do what the recipe says where a step came to nothing."""
        state, sums = self.state, self.state.sums
        self.optimizer.zero_grad()
        start = state.step * self._samples_a_step
        names = self.loader.dataset.ids(self.sampler.order()[start : start + self._samples_a_step])
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        place = f"{complaint} in epoch {state.epoch + 1}, step {state.step + 1} (samples {shown})"
        sums["lost"], sums["lost in a row"] = sums.get("lost", 0) + 1, sums.get("lost in a row", 0) + 1
        if self.recipe.on_nan == "stop" or sums["lost in a row"] >= _LOST:
            raise UserError(
                f"{place}: try a smaller train.lr, train.clip_grad, or train.on_nan = 'skip'; the run is as it "
                f"was at its last checkpoint"
            )
        if self.recipe.on_nan == "skip":
            with torch.no_grad():
                for name, buffer in self.module.named_buffers():
                    buffer.copy_(buffers[name])
            self.progress.line(f"warning: {place}: the step is left out")
        else:
            self.processes.wait()  # for what the main one saved
            path = run.checkpoints()[-1]
            self._load(path)
            self.processes.wait()  # before it saves the next
            self.progress.line(f"warning: {place}: back to the weights of {path.name}, going on behind that step")

    def _evaluate(self, model: AudioVisualModel, split: FeatureSplit, name: str) -> Evaluation:
        # For encoders that draw.
        set_seed(_seed(self.recipe.seed, self.state.epoch, _EVALUATION, *self._own_words))
        loader = evaluation_loader(split, self.parts.config, self.processes)
        self.progress.stage(name, len(loader))
        return evaluate(
            model, self.parts.loss, loader, self.device, progress=self.progress, processes=self.processes
        )

    def _load(self, path: Path) -> TrainingState:
        return weights.load_training(path, self.module, self.optimizer.optimizer, self.accelerator.scaler)

    def _save(self, run: Run) -> None:
        if not self.processes.main:
            return
        path = run.checkpoint_file(self.state.epoch, self.state.step)
        weights.save_training(path, self.module, self.optimizer.optimizer, self.state, self.accelerator.scaler)
        for old in run.checkpoints()[: -self.recipe.keep_checkpoints]:
            old.unlink()

    def _save_weights(self, run: Run) -> None:
        if self.processes.main:
            metadata = {"epoch": str(self.state.epoch)}
            weights.save_weights(run.weights_file, self.judged, metadata)


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _position(line: Mapping[str, Any]) -> tuple[float, float]:
    """After which epoch, and step of the next one, a line of the metrics was written; test results come last."""
    if "of_epoch" in line:
        return line["of_epoch"] - 1, line["step"]
    return line.get("epoch", math.inf), 0
