"""The leaky integrate-and-fire neuron, all time steps in one call."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from scmrl_plugins.plugins.braincog.surrogates import SURROGATES, Surrogate, SurrogateName
from scmrl_plugins.plugins.braincog.upstream import node, surrogate


class LIF(node.LIFNode):  # type: ignore[name-defined]
    """Leaky integrate and fire with a hard reset, from a state of zero on every call:

        v[t] = v[t-1] + (x[t] - v[t-1]) / tau
        s[t] = H(v[t] - threshold)
        v[t] = v[t] (1 - s[t])

    ``x [T, B, *] -> s [T, B, *]`` in {0, 1}. In the backward pass H' is the surrogate and the reset factor is
    a constant. With ``detach_membrane`` (as published) v[t-1] is one too, so no gradient crosses time steps
    and the derivative is pointwise: ds[t]/dx[t] = H'(v[t] - threshold) / tau.

    A subclass of BrainCog's ``LIFNode`` that agrees with it step by step, to the bit. Source: arXiv
    2502.12488; BrainCog 0.2.7.
    """

    class Config(ComponentConfig):
        tau: float = Field(2.0, ge=1, description="membrane time constant, in time steps")
        threshold: float = Field(1.0, description="membrane potential from which the neuron fires")
        surrogate: SurrogateName = Field("sigmoid", description="derivative that stands in for the step's")
        alpha: float = Field(4.0, gt=0, le=1e6, description="slope of the surrogate")
        detach_membrane: bool = Field(True, description="let no gradient cross time steps")

    def __init__(self, config: Config, context: Context | None = None) -> None:
        chosen = SURROGATES[config.surrogate]
        super().__init__(
            threshold=config.threshold,
            tau=config.tau,
            act_fun=getattr(surrogate, chosen.braincog),
            mem_detach=config.detach_membrane,
        )
        self.act_fun.alpha.data.fill_(config.alpha)
        self.surrogate, self.alpha = chosen, config.alpha

    def forward(self, x: Tensor) -> Tensor:
        if self.mem_detach:
            spikes, potential = _DetachedLIF.apply(
                x, self.tau, self.threshold, self.alpha, self.surrogate, self.requires_mem
            )
        else:
            spikes, potential = self._unrolled(x)
        # BrainCog's tools read these when a user asks for them.
        self.feature_map = list(spikes.unbind()) if self.requires_fp else []
        self.mem_collect = list(potential.unbind()) if self.requires_mem and potential is not None else []
        return spikes

    def _unrolled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The equation step by step under autograd, with gradients through time."""
        v = None
        spikes, potential = [], []
        for current in x:
            s, v = self.single_step(current, v)
            spikes.append(s)
            potential.append(v)
        return torch.stack(spikes), torch.stack(potential)

    def single_step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The equation for one step: ``x [B, *], v [B, *] -> s [B, *], v [B, *]``; no v is a v of zero."""
        v = torch.zeros_like(x) if state is None else state
        v = v + (x - v) / self.tau
        s = _Fire.apply(v - self.threshold, self.alpha, self.surrogate)
        return s, v * (1 - s.detach())

    def extra_repr(self) -> str:
        return f"tau={self.tau}, threshold={float(self.threshold)}, surrogate={self.surrogate.braincog}"


def _fires(u: Tensor, chosen: Surrogate) -> Tensor:
    return u >= 0 if chosen.tie else u > 0


class _Fire(torch.autograd.Function):
    """H(u) with the surrogate's derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: float, chosen: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.alpha, ctx.chosen = alpha, chosen
        return _fires(u, chosen).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return ctx.chosen.backward(grads[0], u, ctx.alpha), None, None


class _DetachedLIF(torch.autograd.Function):
    """All steps of a LIF whose membrane carries no gradient: one pass forward, one pointwise expression back.

    Returns the spikes and, if asked for, the membrane potential after the reset.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau: float, threshold: Tensor, alpha: float, chosen: Surrogate, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        spikes = torch.empty_like(x, memory_format=torch.contiguous_format)
        centred = torch.empty_like(spikes) if ctx.needs_input_grad[0] else None
        potential = torch.empty_like(spikes) if keep else None
        v = torch.zeros_like(spikes[0])
        u = torch.empty_like(v)
        for t in range(x.shape[0]):
            # The order of these operations is BrainCog's, so that the bits agree.
            v = torch.sub(x[t], v).div_(tau).add_(v)
            u = torch.sub(v, threshold, out=u if centred is None else centred[t])
            fired = _fires(u, chosen)
            spikes[t] = fired
            v = v.masked_fill_(fired, 0)
            if potential is not None:
                potential[t] = v
        if centred is not None:
            ctx.save_for_backward(centred)
        ctx.tau, ctx.alpha, ctx.chosen = tau, alpha, chosen
        if potential is not None:
            ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (u,) = ctx.saved_tensors
        return ctx.chosen.backward(grads[0] / ctx.tau, u, ctx.alpha), None, None, None, None, None
