"""The training loop: accelerate for devices and precision, timm for optimiser and schedule."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from scmrl_plugins.core import checkpoint, report
from scmrl_plugins.core.assembly import Assembly
from scmrl_plugins.core.checkpoint import TrainingState
from scmrl_plugins.core.config import ExperimentConfig, TrainConfig
from scmrl_plugins.core.data import Batch, evaluation_loader, prepare, training_loader
from scmrl_plugins.core.evaluation import Evaluation, evaluate
from scmrl_plugins.core.features import FeatureSplit
from scmrl_plugins.core.interrupts import Interrupts
from scmrl_plugins.core.mixing import mix
from scmrl_plugins.core.model import AudioVisualModel
from scmrl_plugins.core.progress import Progress
from scmrl_plugins.core.run import Run
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

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
        self.training_data: Any = loader.dataset

        self.accelerator = _accelerator(device, self.recipe)
        self.module = nn.ModuleDict({"model": parts.model, "loss": parts.loss}).to(device)
        self.frozen = _freeze(parts.model, self.recipe)
        optimizer = _optimizer(self.module, parts.config)
        self.average = ModelEmaV3(parts.model, decay=self.recipe.ema) if self.recipe.ema else None
        if self.average:
            self.module["average"] = self.average.module  # so that checkpoints have it
        self.judged = self.average.module if self.average else parts.model
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

        Returns the test result of the best epoch, which is also the last line of the run's metrics. Ctrl-C or
        SIGTERM finishes the step, saves, and raises ``KeyboardInterrupt``. Raises ``UserError`` where another
        process trains the run, or something of it is damaged or cannot be written.
        """
        with run.locked(), Interrupts() as interrupts:
            self._resume(run)
            run.write_skipped(self.data.bad)
            if self.recipe.on_nan == "rollback" and not run.checkpoints():
                self._save(run)
            while self.state.epoch < self.recipe.epochs and not self._patient_enough():
                self._epoch(run, interrupts)
            checkpoint.load_weights(run.weights_file, self.parts.model)
            result = self._evaluate(self.parts.model, self.splits["test"], "test")
            run.add_metrics(
                {
                    "split": "test",
                    "protocol": self.recipe.protocol,
                    "best_epoch": self.state.best_epoch,
                    "skipped": len(self.data.bad),
                }
                | result.as_dict()
            )
            report.write(run)
        return result

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
                self.state = checkpoint.load_training(path, self.module, self.optimizer.optimizer)
            except checkpoint.DamagedFileError as error:
                damaged.append(str(error))
                continue
            for complaint in damaged:
                self.progress.line(f"warning: {complaint}; going back to the checkpoint before it")
            break
        else:
            if damaged:
                raise UserError(f"{damaged[0]}; no checkpoint before it is whole: train again with -c config.toml")
        lines = run.metrics()
        kept = [line for line in lines if _position(line) <= (self.state.epoch, self.state.step)]
        if kept != lines:
            # A stop while saving leaves a line without its checkpoint, or a checkpoint without its best weights.
            run.write_metrics(kept)
        if saved:
            if not self.state.step and self.state.best_epoch == self.state.epoch:
                self._save_weights(run)
            done = f"epoch {self.state.epoch}" + (f", step {self.state.step}" if self.state.step else "")
            self.progress.line(f"going on after {done} of {self.recipe.epochs} epochs")

    def _epoch(self, run: Run, interrupts: Interrupts) -> None:
        """The rest of an epoch, its validation, and the checkpoint after it."""
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
            f"{self.chooser}_loss": chosen.loss,
            f"{self.chooser}_accuracy": chosen.accuracy,
            "seconds": round(time.monotonic() - started, 3),
        }
        if state.sums.get("lost"):
            figures["lost_steps"] = state.sums["lost"]
        state.epoch, state.step, state.sums = epoch + 1, 0, {}
        # The smaller loss decides between equal accuracies, which small validation splits make common.
        if (chosen.accuracy, -chosen.loss) > (state.best_accuracy, -state.best_loss):
            state.best_epoch, state.best_accuracy, state.best_loss = epoch + 1, chosen.accuracy, chosen.loss
        # In this order, so that a run stopped in between goes on as the same run.
        run.add_metrics(figures)
        self._save(run)
        if state.best_epoch == epoch + 1:
            self._save_weights(run)
        self.progress.line(
            f"epoch {epoch + 1}/{self.recipe.epochs}  loss {figures['train_loss']:.3f}  "
            f"accuracy {figures['train_accuracy']:.2%}  {self.chooser} {chosen.accuracy:.2%}"
        )
        if interrupts.asked:
            raise KeyboardInterrupt

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
        saved = time.monotonic()
        batches = iter(self.loader)
        while step := list(itertools.islice(batches, self.recipe.accumulate)):
            # Every draw of a step follows from seed, epoch and step, so a run that went on is the same run.
            set_seed(_seed(*self._place))
            # A forward pass of what is not finite leaves its mark in the statistics of batch norm.
            keeps = self.recipe.on_nan == "skip"
            buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()} if keeps else {}
            if complaint := self._step(step):
                self._not_finite(run, complaint, buffers)
            else:
                state.sums["lost in a row"] = 0
            state.step += 1
            n = max(1, state.sums.get("samples", 0))
            self.progress.advance(loss=state.sums.get("loss", 0.0) / n, accuracy=state.sums.get("correct", 0) / n)
            if self._due(time.monotonic() - saved) or interrupts.asked:
                self._save(run)
                saved = time.monotonic()
            if interrupts.asked:
                raise KeyboardInterrupt

    @property
    def _samples_a_step(self) -> int:
        return self.recipe.batch_size * self.recipe.accumulate

    def _due(self, seconds: float) -> bool:
        steps = self.recipe.checkpoint_steps
        return seconds >= 60 * self.recipe.checkpoint_minutes or bool(steps and self.state.step % steps == 0)

    def _step(self, batches: list[Batch]) -> str:
        """One step of the optimiser on one batch, or on several; what is not finite, if anything: no step then."""
        state = self.state
        total = sum(len(batch["label"]) for batch in batches)
        found: dict[str, float] = {"samples": total}
        for place, batch in enumerate(batches):
            target = batch.pop("label")
            mixed = mix(batch, self.parts.config.data, np.random.default_rng([*self._place, place]))
            output = self.model(**(mixed.inputs if mixed else batch))
            loss, parts = self.loss(output, target)
            if mixed:
                loss = torch.lerp(self.loss(output, target[mixed.partner])[0], loss, mixed.share)
            value, n = loss.item(), len(target)
            if not math.isfinite(value):
                return f"the loss is {value}"
            self.accelerator.backward(loss * (n / total) if len(batches) > 1 else loss)
            summands = {"loss": value * n, "correct": float((output.logits.argmax(1) == target).sum())}
            summands |= {f"{_TERM}{name}": term.item() * n for name, term in parts.items()}
            for name, summand in summands.items():
                found[name] = found.get(name, 0.0) + summand
        if not math.isfinite(norm := self._gradient_norm()):
            return f"the norm of the gradient is {norm}"
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.parts.model)
        for name, summand in found.items():
            state.sums[name] = state.sums.get(name, 0.0) + summand
        return ""

    @property
    def _place(self) -> tuple[int, int, int]:
        """What the draws of a step follow from."""
        return self.recipe.seed, self.state.epoch, self.state.step

    def _gradient_norm(self) -> float:
        """The norm of the gradient, which is clipped if the recipe says so."""
        if self.recipe.clip_grad:
            norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.recipe.clip_grad)
            return 0.0 if norm is None else float(norm)
        if self.recipe.precision == "fp16":
            return 0.0  # its scaler looks for itself, and takes no step where the scale was too large
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _not_finite(self, run: Run, complaint: str, buffers: Mapping[str, Tensor]) -> None:
        """Do what the recipe says where a step came to nothing."""
        state, sums = self.state, self.state.sums
        self.optimizer.zero_grad()
        start = state.step * self._samples_a_step
        names = self.training_data.ids(self.sampler.order()[start : start + self._samples_a_step])
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
            path = run.checkpoints()[-1]
            checkpoint.load_training(path, self.module, self.optimizer.optimizer)
            self.progress.line(f"warning: {place}: back to the weights of {path.name}, going on behind that step")

    def _evaluate(self, model: AudioVisualModel, split: FeatureSplit, name: str) -> Evaluation:
        set_seed(_seed(self.recipe.seed, self.state.epoch, _EVALUATION))  # for encoders that draw
        loader = evaluation_loader(split, self.parts.config)
        self.progress.stage(name, len(loader))
        return evaluate(model, self.parts.loss, loader, self.device, progress=self.progress)

    def _save(self, run: Run) -> None:
        path = run.checkpoint_file(self.state.epoch, self.state.step)
        checkpoint.save_training(path, self.module, self.optimizer.optimizer, self.state)
        for old in run.checkpoints()[: -self.recipe.keep_checkpoints]:
            old.unlink()

    def _save_weights(self, run: Run) -> None:
        metadata = {"epoch": str(self.state.epoch)}
        checkpoint.save_weights(run.weights_file, self.judged, metadata)


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _position(line: Mapping[str, Any]) -> tuple[float, float]:
    """After which epoch, and step of the next one, a line of the metrics was written; test results come last."""
    return line.get("epoch", math.inf), 0


def _accelerator(device: torch.device, recipe: TrainConfig) -> Accelerator:
    precision = {"fp32": "no"}.get(recipe.precision, recipe.precision)
    if not PartialState().use_distributed:
        # Accelerate keeps one state a process and refuses another precision or device than the first's.
        AcceleratorState._reset_state(reset_partial_state=True)
    try:
        return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"train.precision = {recipe.precision!r} does not work on {device}: {error}") from None


def _optimizer(module: nn.Module, config: ExperimentConfig) -> torch.optim.Optimizer:
    recipe = config.train
    try:
        groups: Any = _scaled_groups(module, config) if recipe.lr_scale else module
        return create_optimizer_v2(groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay)
    except (ValueError, AssertionError, ImportError) as error:
        raise UserError(f"train.optimizer = {recipe.optimizer!r}: timm cannot make it: {error}") from None


def _scaled_groups(module: nn.Module, config: ExperimentConfig) -> list[dict[str, Any]]:
    """timm's groups of parameters, divided by the factor of their learning rate, which its schedules know."""
    scales = config.train.lr_scale
    names = {id(parameter): name.removeprefix("model.") for name, parameter in module.named_parameters()}
    for part in scales:
        if not any(_is_in(name, part) for name in names.values()):
            parts = sorted({prefix for name in names.values() for prefix in _prefixes(name)})
            where = near(part, parts) + config.source("train.lr_scale")
            raise UserError(f"train.lr_scale: the model has no part {part!r}{where}; name one that it has")

    def scale(name: str) -> float:
        return scales[max((part for part in scales if _is_in(name, part)), key=len, default="")]

    scales = {**scales, "": 1.0}
    groups = []
    for group in param_groups_weight_decay(module, config.train.weight_decay):
        by_scale: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_scale.setdefault(scale(names[id(parameter)]), []).append(parameter)
        groups += [{**group, "params": members, "lr_scale": factor} for factor, members in by_scale.items()]
    return groups


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _prefixes(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[: count + 1]) for count in range(len(words))]


def _freeze(model: AudioVisualModel, recipe: TrainConfig) -> list[nn.Module]:
    """The modules that keep their weights and statistics."""
    frozen = []
    for modality in recipe.freeze:
        if modality not in model.modalities:
            raise UserError(f"train.freeze: the fusion does not use {modality}; leave it out")
        frozen += [model.encoders[modality], model.backbones[modality]]
    for module in frozen:
        module.requires_grad_(False)
    return frozen
