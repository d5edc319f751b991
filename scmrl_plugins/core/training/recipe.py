"""Optimiser, learning rate schedule, learning rates per module and frozen modules of a training."""

from __future__ import annotations

import copy
import functools
import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from scmrl_plugins.core.config.sections import ExperimentConfig, TrainConfig
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import moments
from scmrl_plugins.core.system.private import optimizers_without_compiler, step_without_compiler, timm_training
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

timm_optim, timm_scheduler = timm_training()
optimizers_without_compiler()

_TRIED = 7
"""Steps before and after resuming, with which an optimizer is tried; some act differently from the sixth on."""


def optimizer(module: nn.Module, config: ExperimentConfig) -> torch.optim.Optimizer:
    """timm's optimiser of that name.

    Raises ``UserError`` if timm or the model lacks what is configured, or if training with it cannot be
    resumed to the bit.
    """
    recipe = config.train
    create = functools.partial(
        timm_optim.create_optimizer_v2, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    setting = f"train.optimizer = {recipe.optimizer!r}"
    known = timm_optim.list_optimizers()
    if recipe.optimizer.lower().rpartition("_")[2] not in known:
        raise UserError(f"{setting}: timm has none of that name{near(recipe.optimizer, known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's, of a package that would make one of them faster
        try:
            made = create(_scaled_groups(module, config) if recipe.lr_scale else module)
            step_without_compiler(made)
        except (ValueError, AssertionError, ImportError) as error:
            raise UserError(f"{setting}: timm cannot create it: {error}") from None
        reason = _unfit(functools.partial(create, lr=1e-3), next(module.parameters()).device)
    if reason:
        raise UserError(f"{setting} cannot be used: {reason}; choose another, such as 'adamw'")
    return made


def _unfit(create: Callable[[nn.Module], torch.optim.Optimizer], device: torch.device) -> str:
    """Why an optimizer cannot train, or not resume to the bit, tried on three small tensors; empty if it can."""
    shapes = ((4,), (4, 3), (16, 8, 3, 3))
    undisturbed, resumed = (
        nn.ParameterList(torch.ones(shape, device=device) for shape in shapes).to(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    )
    with torch.random.fork_rng(devices=[]):
        try:
            made = create(undisturbed)
            moments.pack(made)
            _steps(undisturbed, made, range(_TRIED))
            tensors, values = moments.pack(made)
            resumed.load_state_dict(copy.deepcopy(undisturbed.state_dict()))
            restored = create(resumed)
            moments.unpack(restored, copy.deepcopy(tensors) | json.loads(json.dumps(values)))
            for parameters, optimizer in ((undisturbed, made), (resumed, restored)):
                _steps(parameters, optimizer, range(_TRIED, 2 * _TRIED))
        except Exception as error:  # of an optimizer that needs more than gradients
            return " ".join(str(error).split()) or type(error).__name__
    same = all(torch.equal(one, other) for one, other in zip(undisturbed, resumed, strict=True))
    return "" if same else "it has state that is lost when a run is resumed"


def _steps(parameters: nn.ParameterList, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps on random gradients that follow from the number of the step."""
    step_without_compiler(optimizer)
    for step in steps:
        torch.default_generator.manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape).to(parameter.device)
        optimizer.step()


def _scaled_groups(module: nn.Module, config: ExperimentConfig) -> list[dict[str, Any]]:
    """timm's parameter groups, split by learning rate factor, which timm's schedules apply."""
    scales = config.train.lr_scale
    names = {id(parameter): name.removeprefix("model.") for name, parameter in module.named_parameters()}
    for part in scales:
        if not any(_is_in(name, part) for name in names.values()):
            parts = sorted({prefix for name in names.values() for prefix in _prefixes(name)})
            where = near(part, parts) + config.source("train.lr_scale")
            raise UserError(f"train.lr_scale: the model has no part {part!r}{where}; use a name of a part")

    def scale(name: str) -> float:
        return scales[max((part for part in scales if _is_in(name, part)), key=len, default="")]

    scales = {**scales, "": 1.0}
    groups = []
    for group in timm_optim.param_groups_weight_decay(module, config.train.weight_decay):
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


class Schedule:
    """timm's schedule of the learning rate, linear warm-up and then cosine, by epoch or by step of the optimizer.

    The rate follows from the position alone, so that a resumed run has the same.
    """

    def __init__(self, made: torch.optim.Optimizer, recipe: TrainConfig, steps_per_epoch: int) -> None:
        self.by_epoch, self.steps_per_epoch = recipe.schedule == "epoch", steps_per_epoch
        self.scheduler: Any
        self.scheduler, _ = timm_scheduler.create_scheduler_v2(
            made,
            sched="cosine",
            num_epochs=recipe.epochs,
            warmup_epochs=recipe.warmup_epochs or 0,
            warmup_lr=recipe.warmup_lr,
            min_lr=recipe.min_lr,
            step_on_epochs=self.by_epoch,
            updates_per_epoch=steps_per_epoch,
        )

    def set_rate(self, epoch: int, step: int) -> None:
        """Set the learning rate of a step, both counted from 0; after the last step of an epoch it stays."""
        if self.by_epoch:
            self.scheduler.step(epoch)
        else:
            self.scheduler.step_update(epoch * self.steps_per_epoch + min(step, self.steps_per_epoch - 1))


def moving_average(model: nn.Module, recipe: TrainConfig) -> Any:
    """timm's moving average of the weights, a ``ModelEmaV3``, or none where the recipe has none."""
    if not recipe.ema:
        return None
    from timm.utils import ModelEmaV3  # here, as it imports torchvision

    return ModelEmaV3(model, decay=recipe.ema)


def freeze(model: AudioVisualModel, recipe: TrainConfig) -> list[tuple[nn.Module, bool]]:
    """Freeze the encoders and backbones of ``train.freeze``.

    Returns modules with the mode, training or evaluation, that each has in training: frozen ones keep their
    statistics too.
    """
    modes: list[tuple[nn.Module, bool]] = []
    for modality in recipe.freeze:
        if modality not in model.modalities:
            raise UserError(f"train.freeze: the fusion does not use {modality}; remove it")
        backbone: Any = model.backbones[modality]
        learning = [] if recipe.freeze_feed_forward else list(backbone.after_fusion)
        kept = {id(parameter) for module in learning for parameter in module.parameters()}
        for module in (model.encoders[modality], backbone):
            modes.append((module, False))
            for parameter in module.parameters():
                if id(parameter) not in kept:
                    parameter.requires_grad_(False)
        modes += [(module, True) for module in learning]
    return modes
