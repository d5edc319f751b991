"""A model with what trains it: objective, optimizer, schedule and moving average, on a device."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scmrl_plugins.core.measure.operations import batch_statistics, random_inputs
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.batch_norm import synchronize
from scmrl_plugins.core.parallel.processes import Processes
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.training import recipe, tokens
from scmrl_plugins.core.training.batches import Steps
from scmrl_plugins.core.training.modulated import modulated_step
from scmrl_plugins.core.training.step import Step, StepResult
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator


Modes = list[tuple[nn.Module, bool]]


def learning(parts: Assembly, device: torch.device) -> tuple[nn.ModuleDict, Modes, torch.optim.Optimizer]:
    """What learns: all modules, on the device; the modes of those that ``recipe.freeze`` treats apart; the
    optimizer.

    Raises ``UserError`` for an optimizer that timm does not have or that cannot be resumed, and for a part or
    modality that the model lacks.
    """
    train = parts.config.train
    if train.cache_tokens:
        tokens.check(parts)
    modules: dict[str, nn.Module] = {"model": parts.model, "loss": parts.loss}
    if parts.modulation is not None:
        modules["modulation"] = parts.modulation
    module = nn.ModuleDict(modules).to(device)
    modes = recipe.freeze(parts.model, train)
    return module, modes, recipe.optimizer(module, parts.config)


class Learner:
    """The parts of an experiment, prepared by an ``Accelerator`` for training in one or several processes.

    ``module`` holds all tensors that a checkpoint saves; ``step(batches, ...)`` updates the weights; ``evaluated``
    is the model that is tested and kept: the moving average where the recipe has one. Raises ``UserError`` for an
    modulation that does not fit, and like ``learning``.
    """

    def __init__(self, parts: Assembly, accelerator: Accelerator, processes: Processes) -> None:
        train = parts.config.train
        if processes.count > 1 and train.sync_batch_norm:
            synchronize(parts.model, processes)
        self.recipe, self.modulation = train, parts.modulation
        self.module, self.modes, optimizer = learning(parts, accelerator.device)
        self.average = recipe.moving_average(parts.model, train)
        if self.average:
            self.module["average"] = self.average.module
        self.evaluated: AudioVisualModel = self.average.module if self.average else parts.model
        options: dict[str, Any] = {
            "clip_grad": train.clip_grad,
            "mixing": parts.config.data,
            "accelerator": accelerator,
            "processes": processes,
        }
        # Every process computes the loss of the complete batch, so its gradients need no reduction.
        self.objective = accelerator.prepare_model(parts.loss, evaluation_mode=True)
        if self.modulation is not None:
            self.model = parts.model  # not wrapped: the step averages the gradients of several processes
            self.optimizer = accelerator.prepare_optimizer(optimizer)
            self.modulated = modulated_step(parts, self.objective, self.optimizer, **options)
            self.step: Callable[..., StepResult] = self.modulated
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised by torch for a call of accelerate's
            trained = tokens.FromTokens(parts.model) if train.cache_tokens else parts.model
            self.model, self.optimizer = accelerator.prepare(trained, optimizer)
        self.step = Step(self.model, self.objective, self.optimizer, **options)

    @property
    def lr(self) -> float:
        """The learning rate of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def schedule(self, steps_per_epoch: int) -> recipe.Schedule:
        """The schedule of the learning rate."""
        return recipe.Schedule(self.optimizer.optimizer, self.recipe, steps_per_epoch)

    def load_weights(self, path: Path) -> None:
        """Start from the weights in a file; the moving average does as well."""
        weights.load_weights(path, self.module["model"])
        if self.average:
            self.average.set(self.module["model"])

    def check_single(self, where: str) -> None:
        """``UserError`` where there is a single sample, on which the model or its loss cannot train.

        ``where`` says so, for the message; empty: there is none.

        Batch norm has no variance where a channel has one value; some losses compare samples.
        """
        if not where:
            return
        model: Any = self.module["model"]
        loss = self.module["loss"]
        device = next(model.parameters()).device
        inputs, target = random_inputs(model, device, batch=1), torch.zeros(1, dtype=torch.long, device=device)
        with batch_statistics(model), torch.random.fork_rng(devices=[]), torch.no_grad():
            self.set_modes()
            try:
                value, _ = loss(model(**inputs), target)
                reason = "" if value.isfinite() else f"the loss is {value:g}"
            except ValueError as error:
                batch_norm = "more than 1 value per channel" in str(error)
                reason = "batch norm needs several values per channel" if batch_norm else str(error)
        if reason:
            raise UserError(f"{where}, which is too few to train on ({reason}): choose another batch size")

    def set_modes(self) -> None:
        """Set the modes of an epoch."""
        self.model.train()
        self.objective.train()
        for module, training in self.modes:
            module.train(training)
        if self.modulation is not None:
            self.modulation.train()

    def start_epoch(self, steps: Steps, state: TrainingState) -> None:
        """Set the modes of an epoch; before its first step, let the modulation see what it observes."""
        self.set_modes()
        if self.modulation is None:
            return
        self.modulated.progress = state.epoch / self.recipe.epochs
        if self.modulation.observes and not state.step:
            first = range(math.ceil(self.modulation.observes * steps.per_epoch))
            sizes = [steps.sizes(dataclasses.replace(state, step=step)) for step in first]
            batches = itertools.islice(steps.remaining(state), len(first))
            self.modulated.observe(batches, sizes, seeds.mix(self.recipe.seed, state.epoch, "observation"))

    def update_average(self) -> None:
        """Move the average towards the weights."""
        if self.average:
            self.average.update(self.module["model"])
