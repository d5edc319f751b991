"""The base class of the fused neurons."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, IntegrateAndFire, Neuron
from scmrl_plugins.plugins.neurons import fused, normalized
from scmrl_plugins.plugins.neurons.dynamics import Dynamics, Rate, Settings
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, Fire
from scmrl_plugins.plugins.neurons.upstream import node


class FusedNeuron(Neuron, node.BaseNode):
    """A BrainCog node that computes all time steps in one call, from a state of zero:

        v[t] = charge(x[t], v[t-1])
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]``. In the backward pass H' is the surrogate and the reset factor is a constant.
    With ``detach_membrane`` v[t-1] is a constant too: no gradient crosses time steps, and the fused path runs.
    Without it the steps run one by one under autograd.

    A neuron is a subclass of this class and of the node of BrainCog's whose parameters it has. It defines its
    equation twice: ``charge`` (or all of ``single_step``) under autograd, and ``dynamics_type``, in place and
    with its derivative, for the fused path. ``rate()`` is the factor that both apply.
    """

    Config: type[Settings] = Settings
    dynamics_type: ClassVar[type[Dynamics]]

    # BrainCog's attributes.
    threshold: nn.Parameter
    act_fun: Any
    mem_detach: bool

    def __init__(self, config: Any, context: Context | None = None, **node_settings: float) -> None:
        super().__init__(
            threshold=config.threshold,
            act_fun=SURROGATES[config.surrogate].act_fun,
            mem_detach=config.detach_membrane,
            **node_settings,
        )
        self.act_fun.alpha.requires_grad_(False).fill_(config.alpha)
        self.config = config
        self.dynamics = self.dynamics_type.of(config)

    def rate(self) -> Rate:
        """The factor by which ``charge`` scales its input; a tensor where it is learned."""
        raise NotImplementedError

    def spiking(self, tau: float | None) -> IntegrateAndFire:
        """The parameters of a neuron with this time constant, for ``integrate_and_fire``."""
        return IntegrateAndFire(tau, float(self.threshold), self.dynamics.surrogate.tie)

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        """v[t] before the reset, from x[t] and v[t-1], both ``[B, *]``."""
        raise NotImplementedError

    def fire(self, u: Tensor) -> Tensor:
        """H(u) under autograd, with the surrogate's derivative."""
        return Fire.apply(u, self.dynamics.alpha, self.dynamics.surrogate)

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The equation for one step: ``x [B, *], v [B, *] -> s [B, *], v [B, *]``; without v from v = 0."""
        v = self.charge(x, torch.zeros_like(x) if state is None else state)
        s = self.fire(v - self.threshold)
        return s, v * (1 - s.detach())

    def forward(self, x: Tensor) -> Tensor:
        membrane: Tensor | list[Tensor] | None
        if self.mem_detach and not torch.compiler.is_exporting():
            spikes, membrane = fused.spikes(x, self.rate(), self.threshold, self.dynamics, self.requires_mem)
        else:
            spikes, membrane = self._step_by_step(x)
        # BrainCog's tools read these where a user requests them.
        self.feature_map = list(spikes.unbind()) if self.requires_fp else []
        self.mem_collect = list(membrane) if self.requires_mem and membrane is not None else []
        return spikes

    def _step_by_step(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Spikes and membrane, with gradients through time; of a state of several parts the first is v."""
        state = None
        spikes, membrane = [], []
        for current in x:
            s, state = self.single_step(current, state)
            spikes.append(s)
            membrane.append(state if isinstance(state, Tensor) else state[0])
        return torch.stack(spikes), membrane

    def pooled(self, x: Tensor, pool: nn.Module, steps: int) -> Tensor | None:
        """``pool`` of each step's spikes in one loop with them, where nothing else reads the spikes.

        ``[T or 1, B, C, H, W] -> [T, B, C, H / s, W / s]``. ``None`` if it is not faster.
        """
        if not self.mem_detach or torch.compiler.is_exporting():
            return None
        return fused.pooled_spikes(x, self.rate(), self.threshold, self.dynamics, pool, steps)

    def normalized(self, y: Tensor, norm: nn.Module, pool: nn.Module | None, steps: int) -> Tensor | None:
        """``pool`` of each step's spikes for the currents norm(y), in one loop with them.

        ``[T or 1, B, C, *] -> [T, B, C, *]``. ``None`` if it is not faster.
        """
        if not self.mem_detach or torch.compiler.is_exporting():
            return None
        return normalized.normalized_spikes(y, norm, self.rate(), self.threshold, self.dynamics, pool, steps)

    def extra_repr(self) -> str:
        """The settings that the neuron was built with."""
        return ", ".join(f"{name}={value}" for name, value in self.config.model_dump().items())
