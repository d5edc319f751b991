"""A step of the optimizer with a modulation between the forward pass and the update."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core.data.loading import Batch
from scmrl_plugins.core.evaluation import alone
from scmrl_plugins.core.interfaces import (
    MODALITIES,
    OTHER,
    Gradients,
    Modality,
    ModelOutput,
    Modulation,
    Teaching,
    TrainingStep,
)
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.model.modes import evaluating, spared_statistics
from scmrl_plugins.core.run.teachers import load_teachers
from scmrl_plugins.core.system import seeds
from scmrl_plugins.core.training.step import Step, StepResult, Targets
from scmrl_plugins.registry import UserError, catalogue


class ModulatedStep(Step):
    """``step(batches) -> StepResult``, with what a ``Modulation`` makes of the losses and the gradients.

    ``blank`` are the inputs ``[C, 1, 1]`` for a missing modality, ``teachers`` models by modality. ``progress`` is
    set before each epoch. The model is called itself, not wrapped for several processes: gradients are averaged
    over the processes here. Otherwise as ``Step``.
    """

    model: AudioVisualModel

    def __init__(
        self,
        model: AudioVisualModel,
        objective: nn.Module,
        optimizer: Any,
        modulation: Modulation,
        *,
        blank: Mapping[str, Tensor],
        teachers: Mapping[Modality, AudioVisualModel] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, objective, optimizer, **options)
        self.modulation, self.blank, self.teachers = modulation, blank, teachers or {}
        self.parameters = [*dict.fromkeys([*self.parameters, *modulation.parameters()])]
        self.parts = _parts(model, objective, modulation)
        self.progress = 0.0
        self.method = alone.method(model)
        self._start((0,))

    def _start(self, draw: Sequence[int]) -> None:
        self.moment = TrainingStep(self.progress, seeds.generator(*draw, "modulation"))
        self._kept: dict[str, dict[nn.Parameter, Tensor]] = {}

    def _learn(self, batch: Batch, n: int, share: float | None, draw: Sequence[int], result: StepResult) -> float:
        inputs, targets = self._inputs(batch, n, draw)
        passed = Pass(self, inputs, targets, n)
        losses = self._losses(passed)
        self._count(result, passed.output, targets, passed.terms)
        if not math.isfinite(value := sum(loss.item() for loss in losses.values())):
            return value
        *_, last = losses
        for name, loss in losses.items():
            several = {"retain_graph": True} if name != last else {}
            self.accelerator.backward(loss if share is None else loss * share, **several)
            if len(losses) > 1:
                self._keep(name)
        return value

    def _losses(self, passed: Pass) -> dict[str, Tensor]:
        """What the modulation returns for a batch, by name; ``UserError`` for what is no scalar."""
        returned: Any = self.modulation(passed)
        losses = dict(returned) if isinstance(returned, Mapping) and returned else {"loss": returned}
        for loss in losses.values():
            if not isinstance(loss, Tensor) or loss.dim():
                found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                entry = catalogue().get("modulation", self.model.config.modulation.name)
                raise UserError(f"{entry} returned {found} as a loss, expected a scalar; {entry.plugin.remedy}")
        return losses

    def _keep(self, name: str) -> None:
        """Add the gradients of a backward pass to those of the loss of that name."""
        kept = self._kept.setdefault(name, {})
        for parameter in self.parameters:
            if parameter.grad is not None:
                kept[parameter] = kept[parameter] + parameter.grad if parameter in kept else parameter.grad
                parameter.grad = None

    @torch.no_grad()
    def _combine(self) -> None:
        found = self._kept or {"loss": {p: p.grad for p in self.parameters if p.grad is not None}}
        reached = self._reached([parameter for kept in found.values() for parameter in kept])
        if self.processes.count > 1:
            for kept in found.values():
                self._average(kept, reached)
        scaler = self.accelerator.scaler
        scale = scaler.get_scale() if scaler is not None else 1.0  # a power of two: nothing is rounded
        gradients: dict[str, Gradients] = {
            loss: {
                part: {
                    name: _times(kept[p], 1 / scale) if p in kept else torch.zeros_like(p)
                    for name, p in named.items()
                    if p in reached
                }
                for part, named in self.parts.items()
            }
            for loss, kept in found.items()
        }
        combined = self.modulation.combine(gradients, self.moment)
        for part, named in self.parts.items():
            for name, parameter in named.items():
                gradient = combined.get(part, {}).get(name)
                parameter.grad = None if gradient is None else _times(gradient, scale)

    def _reached(self, parameters: Iterable[nn.Parameter]) -> set[nn.Parameter]:
        """The parameters that have a gradient in this process or in another."""
        mine = set(parameters)
        if self.processes.count == 1:
            return mine
        flags = self.processes.sum(torch.tensor([int(parameter in mine) for parameter in self.parameters]))
        return {parameter for parameter, flag in zip(self.parameters, flags.tolist(), strict=True) if flag}

    def _average(self, kept: dict[nn.Parameter, Tensor], reached: set[nn.Parameter]) -> None:
        """The mean over the processes, in one operation for all parameters."""
        order = [parameter for parameter in self.parameters if parameter in reached]
        if not order:
            return
        flat = torch.cat([kept.get(p, torch.zeros_like(p)).reshape(-1) for p in order])
        means = (self.processes.sum(flat) / self.processes.count).split([p.numel() for p in order])
        kept.update({p: mean.view(p.shape) for p, mean in zip(order, means, strict=True)})

    @torch.no_grad()
    def observe(self, batches: Iterable[Sequence[Batch]], sizes: Iterable[Sequence[int]], seed: int) -> None:
        """Show the modulation the features of some steps, in evaluation mode, with generators of a seed."""
        features: dict[Modality, list[Tensor]] = {}
        targets = []
        with evaluating(self.model), seeds.generators_kept(self.device):
            torch.manual_seed(seed)
            for step, ns in zip(batches, sizes, strict=False):
                for batch, n in zip(step, ns, strict=True):
                    inputs = {key: value.to(self.device) for key, value in batch.items()}
                    target = self.processes.gather(inputs.pop("label"), n)
                    for name, values in Pass(self, inputs, Targets(target), n).features.items():
                        features.setdefault(name, []).append(values)
                    targets.append(target)
        if targets:
            gathered = {name: torch.cat(values) for name, values in features.items()}
            self.modulation.observe(gathered, torch.cat(targets))


def modulated_step(parts: Assembly, objective: nn.Module, optimizer: Any, **options: Any) -> ModulatedStep:
    """The step of an experiment with a modulation; ``options`` as for ``Step``.

    Raises ``UserError`` where the modulation does not fit the experiment, or for its teachers.
    """
    modulation, name = parts.modulation, parts.config.modulation.name
    assert modulation is not None
    model = parts.model
    if len(model.modalities) < 2:
        raise UserError(
            f"modulation {name!r} balances two modalities, and fusion {parts.config.fusion.name!r} uses "
            f"{model.modalities[0]} alone: choose another fusion, or modulation 'none'"
        )
    if not any(_parts(model, nn.Module(), nn.Module())[modality] for modality in MODALITIES):
        raise UserError(
            f"modulation {name!r} balances how encoders and backbones learn, and train.freeze leaves none that "
            f"does: change that, or choose modulation 'none'"
        )
    if "teachers" in modulation.needs and (
        lacking := [one for one in MODALITIES if one not in modulation.teachers]
    ):
        raise UserError(
            f"modulation {name!r} needs a run of each modality alone: --set "
            f'\'modulation.teachers={{ audio = "runs/audio", visual = "runs/visual" }}\' '
            f"({' and '.join(lacking)} missing)"
        )
    teachers = load_teachers(parts, modulation.teachers)
    device = next(model.parameters()).device
    return ModulatedStep(
        model,
        objective,
        optimizer,
        modulation,
        blank={one: torch.from_numpy(x).to(device) for one, x in parts.dataset.blank.items()},
        teachers={one: teacher.to(device) for one, teacher in teachers.items()},
        **options,
    )


class Pass:
    """The forward pass of a batch: a ``TrainingPass``."""

    def __init__(self, step: ModulatedStep, inputs: Batch, targets: Targets, n: int) -> None:
        self._step, self._inputs, self._targets, self._n = step, inputs, targets, n
        self.terms: Mapping[str, Tensor] = {}
        """Those of the objective, once it was asked for."""
        model = step.model
        with step.accelerator.autocast():
            self._tokens = model.tokens(model.encode(**inputs))
            self._fused = model.fused(self._tokens)
            self.output = self._gathered(model.read(self._fused))

    @property
    def step(self) -> TrainingStep:
        return self._step.moment

    @cached_property
    def features(self) -> Mapping[Modality, Tensor]:
        with self._step.accelerator.autocast():
            return self._full(alone.means(self._streams()))

    @cached_property
    def alone(self) -> Mapping[Modality, Tensor]:
        if self._step.method == "blank":
            return {name: self.without(OTHER[name]).logits for name in MODALITIES}
        readout: Any = self._step.model.readout
        with self._step.accelerator.autocast():
            streams = alone.own_streams(self._step.model, self._fused)
            return self._full(readout.split(alone.means(streams)))

    @property
    def separate(self) -> bool:
        return not self._step.model.fusion.interacts

    @cached_property
    def teachers(self) -> Mapping[Modality, Teaching]:
        taught: dict[Modality, Teaching] = {}
        for name, teacher in self._step.teachers.items():
            with self._step.accelerator.autocast(), torch.no_grad():
                fused = teacher.fused(teacher.tokens(teacher.encode(**self._inputs)))
                logits = teacher.read(fused).logits
                both = self._full({"logits": logits, **alone.means(alone.own_streams(teacher, fused))})
            taught[name] = Teaching(both["logits"], both[name])
        return taught

    def without(self, modality: Modality) -> ModelOutput:
        with evaluating(self._step.model), self._step.accelerator.autocast():
            return self._gathered(alone.without(self._step.model, self._inputs, self._step.blank, modality))

    def read(self, factors: Mapping[Modality, Tensor]) -> ModelOutput:
        if self._fused.joint is not None:
            raise UserError("a joint stream is not read by modality: choose another fusion or modulation")

        scales: dict[str, Any] = {name: self._factor(factor) for name, factor in factors.items()}

        def scaled(streams: Mapping[str, Tensor | None]) -> dict[str, Any]:
            return {
                name: stream if stream is None or name not in scales else stream * scales[name]
                for name, stream in streams.items()
            }

        streams = scaled({"audio": self._fused.audio, "visual": self._fused.visual})
        changed = dataclasses.replace(self._fused, **streams, unimodal=scaled(self._fused.unimodal))
        with self._step.accelerator.autocast():
            output = self._gathered(self._step.model.read(changed))
        return dataclasses.replace(output, firing_rates=self.output.firing_rates)

    def objective(self, output: ModelOutput | None = None) -> Tensor:
        loss, terms = self._targets.loss(self._step.objective, output or self.output)
        self.terms = self.terms or terms
        return loss

    def of_target(self, values: Tensor) -> Tensor:
        own = values.gather(1, self._targets.own.unsqueeze(1)).squeeze(1)
        if self._targets.partner is None:
            return own
        partner = values.gather(1, self._targets.partner.unsqueeze(1)).squeeze(1)
        return torch.lerp(partner, own, self._targets.share)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        return -self.of_target(_full(logits).log_softmax(1)).mean()

    def _streams(self) -> dict[Modality, Tensor]:
        """The stream of each modality without the other one, ``[T, B, D, N]``."""
        model: Any = self._step.model
        if not model.fusion.interacts or self._fused.unimodal:
            return alone.own_streams(model, self._fused)
        streams: dict[Modality, Tensor] = {}
        for name in MODALITIES:
            with spared_statistics(model.backbones[name]):
                streams[name] = model.backbones[name].feed_forward(self._tokens[name])
        return streams

    def _factor(self, factor: Any) -> Any:
        if not isinstance(factor, Tensor) or not factor.dim():
            return factor
        return self._step.processes.share(factor).view(1, -1, 1, 1)

    def _full(self, tensors: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        """The tensors of the complete batch, in full precision."""
        return {name: _full(self._step.processes.gather(x, self._n)) for name, x in tensors.items()}

    def _gathered(self, output: ModelOutput) -> ModelOutput:
        return self._step.processes.gather_output(output, self._n)


def _times(x: Tensor, factor: float) -> Tensor:
    """factor x, without a copy for a factor of 1."""
    return x if factor == 1 else factor * x


def _full(x: Tensor) -> Tensor:
    """Half precision to float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _parts(model: AudioVisualModel, *others: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters that learn by the parts of ``Gradients`` and by name."""
    parts: dict[str, dict[str, nn.Parameter]] = {name: {} for name in (*MODALITIES, "rest")}
    named = dict(model.named_parameters())
    for prefix, other in zip(("loss", "modulation"), others, strict=True):
        named |= {f"{prefix}.{name}": parameter for name, parameter in other.named_parameters()}
    for name, parameter in named.items():
        kind, modality, *_ = [*name.split("."), ""]
        part = modality if kind in ("encoders", "backbones") else "rest"
        if parameter.requires_grad:
            parts[part][name] = parameter
    return parts
