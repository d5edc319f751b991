"""What a modulation promises."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from scmrl_plugins.core.config.layers import validate
from scmrl_plugins.core.interfaces import MODALITIES, NEEDS
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import assemble_model
from scmrl_plugins.core.training.modulated import ModulatedStep
from scmrl_plugins.core.training.step import Plain, StepResult
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe
from scmrl_plugins.testing.checks import check, fail, require
from scmrl_plugins.testing.settings import choices
from scmrl_plugins.testing.subject import CHANNELS, CLASSES, Subject
from scmrl_plugins.testing.values import SEED

BATCH = 2 * len(CLASSES)


class Rig:
    """A small model with a modulation, and steps of it on random samples.

    ``forward`` and ``backward`` count the passes. The modulation acts in the second of four epochs.
    """

    def __init__(
        self,
        subject: Subject,
        fusion: str = "late",
        *,
        readout: str = "add",
        dtype: Any = torch.float32,
        config: Any = None,
    ) -> None:
        model, loss = self._assembled(subject, fusion, readout)
        self.model = model.to(dtype)
        self.modulation: Any = subject.build(config=config).to(dtype)
        self.module = nn.ModuleDict({"model": model, "loss": loss, "modulation": self.modulation}).train()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1, momentum=0.9)
        teachers: dict[Any, Any] = {}
        if "teachers" in self.modulation.needs:
            teachers = {name: self._assembled(subject, name)[0].to(dtype).eval() for name in MODALITIES}
        counting = _Counting()
        blank = {name: torch.zeros(c, 1, 1, dtype=dtype) for name, c in CHANNELS.items()}
        self.step = ModulatedStep(
            model, loss, self.optimizer, self.modulation, blank=blank, teachers=teachers, accelerator=counting
        )
        self.step.progress = 0.25
        self.forward, self.counting, self.dtype = 0, counting, dtype
        model.fusion.register_forward_hook(self._count)

    @staticmethod
    def _assembled(subject: Subject, fusion: str, readout: str = "add") -> Any:
        sections = {"model": subject.model.model_dump(), "neuron": {"name": "lif", "threshold": 0.5}}
        chosen = {"fusion": {"name": fusion}, "readout": {"name": readout}}
        return assemble_model(validate({**sections, **chosen}), CLASSES, CHANNELS)

    def _count(self, *_: object) -> None:
        self.forward += 1

    def batch(self, seed: int) -> dict[str, Tensor]:
        """Random samples of every class."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            inputs = random_inputs(self.model, torch.device("cpu"), BATCH)
        return {**{k: x.to(self.dtype) for k, x in inputs.items()}, "label": torch.arange(BATCH) % len(CLASSES)}

    def observe(self) -> None:
        """What happens before an epoch."""
        if self.modulation.observes:
            self.step.observe([[self.batch(7)]], [[BATCH]], SEED)

    def train(self, number: int, batches: int = 1) -> StepResult:
        """The step of a number, on some batches."""
        given = [self.batch(10 * number + index) for index in range(batches)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(number)
            return self.step(given, draw=(SEED, 1, number))


class _Counting(Plain):
    backward_passes = 0

    def backward(self, loss: Tensor, **options: Any) -> None:
        self.backward_passes += 1
        super().backward(loss, **options)


@check("modulation")
def check_takes_training_steps(subject: Subject) -> None:
    """A model with it takes steps, on one batch and on several: finite, and a backbone learns. It may refuse a
    fusion with a ``UserError``, but not ``late``."""
    for fusion in ("late", "cmrl"):
        try:
            rig = Rig(subject, fusion)
            before = {name: p.clone() for name, p in rig.model.named_parameters()}
            rig.observe()
            results = [rig.train(number, batches) for number, batches in ((0, 1), (1, 2))]
        except UserError as error:
            require(fusion != "late", f"refuses the fusion 'late': {error}")
            continue
        if subject.cls.acts:
            for result in results:
                require(not result.not_finite, f"with fusion {fusion!r}, {result.not_finite}")
            changed = {name for name, p in rig.model.named_parameters() if not torch.equal(p, before[name])}
            learns = any(name.startswith("backbones.") for name in changed)
            require(learns, f"with fusion {fusion!r}, neither backbone learns")


@check("modulation")
def check_resumes_to_the_bit(subject: Subject) -> None:
    """What it keeps from step to step is in its buffers and parameters: a copy of them continues alike."""
    first, second = Rig(subject), Rig(subject)
    first.observe()
    for number in range(2):
        first.train(number)
    second.module.load_state_dict(copy.deepcopy(first.module.state_dict()))
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    for rig in (first, second):
        rig.train(2)
    for name, tensor in first.module.state_dict().items():  # to the bit: the same operations on the same layout
        same = torch.equal(tensor, second.module.state_dict()[name])
        require(same, f"{name} differs after a step from a copy of its state: keep that in a buffer or parameter")


@check("modulation")
def check_draws_from_the_step(subject: Subject) -> None:
    """Its random numbers come from ``TrainingStep.generator``, so that they are the same in every process."""
    found = []
    for seed in (1, 2):
        rig = Rig(subject)
        rig.observe()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            rig.step([rig.batch(0)], draw=(SEED, 1, 0))
        found.append(rig.module.state_dict())
    for name, tensor in found[0].items():
        require(torch.equal(tensor, found[1][name]), f"{name} depends on torch's global random generator")


@check("modulation")
def check_declares_its_cost(subject: Subject) -> None:
    """``needs`` has words from ``NEEDS``, and a batch takes as many passes as ``passes`` says."""
    unknown = sorted(subject.cls.needs - NEEDS.keys())
    require(not unknown, f"needs has the unknown word {unknown[:1]}; words are {', '.join(NEEDS)}")
    rig = Rig(subject)
    rig.observe()
    rig.forward = 0
    rig.train(0)
    found = (rig.forward, rig.counting.backward_passes)
    declared = subject.cls.passes
    require(found == declared, f"a batch takes {found} forward and backward passes, and passes is {declared}")


@check("modulation")
def check_computes_in_double_precision(subject: Subject) -> None:
    """A model in float64 is trained in float64."""
    rig = Rig(subject, dtype=torch.float64)
    rig.observe()
    try:
        rig.train(0)
    except (RuntimeError, TypeError) as error:
        raise AssertionError(f"does not work in float64: {describe(error)}") from error
    for name, tensor in rig.module.state_dict().items():
        require(tensor.dtype != torch.float32, f"{name} becomes float32 in a training in float64")


@check("modulation")
def check_every_variant_runs(subject: Subject) -> None:
    """With every value of a boolean or literal setting it takes a step, or raises a ``UserError``."""
    config = subject.config()
    for name, value in choices(type(config)):
        try:
            rig = Rig(subject, config=type(config).model_validate({**config.model_dump(), name: value}))
            rig.observe()
            result = rig.train(0)
        except (UserError, ValidationError):
            continue
        except Exception as error:
            raise AssertionError(f"with {name} = {value!r} it fails: {describe(error)}") from error
        if result.not_finite:
            fail(f"with {name} = {value!r}, {result.not_finite}")
