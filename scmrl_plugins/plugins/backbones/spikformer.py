"""The backbone of S-CMRL: spiking patch splitting before the fusion, a spiking MLP after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Backbone, ComponentConfig, Context
from scmrl_plugins.plugins.layers.blocks import SpikingBlock, SpikingMLP, SpikingPatchSplitting
from scmrl_plugins.plugins.layers.recompute import checkpointed
from scmrl_plugins.registry import UserError

# Channels of the stages: D divided by these numbers.
SPLITTINGS = {"deep": (8, 4, 2, 1), "shallow": (2, 1)}
# Below this size, four halvings would leave too few tokens.
DEEP_FROM = 64


class Spikformer(Backbone):
    """Spiking patch splitting and ``depth`` blocks of spiking self-attention and MLP; the MLP after the fusion.

    ``x [T, B, C, H, W] -> tokens [T, B, D, N]``, N = H W / 16^2 (deep) or H W / 4^2 (shallow), rounding up.
    S-CMRL has depth 0: its only attention is in the fusion, followed by ``feed_forward``. Source: arXiv
    2209.15425, arXiv 2502.12488.
    """

    class Config(ComponentConfig):
        splitting: Literal["auto", "deep", "shallow"] = Field(
            "auto", description="patch splitting: deep has stride 16, shallow 4; auto: deep from 64 pixels"
        )
        depth: int = Field(0, ge=0, le=64, description="self-attention blocks before the fusion")
        mlp_ratio: float = Field(4.0, gt=0, le=64, description="hidden channels of an MLP as a multiple of D")
        recompute: bool = Field(
            False, description="save memory by recomputing patch splitting and blocks in the backward pass"
        )

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        splitting = config.splitting
        if splitting == "auto":
            splitting = "deep" if context.image_size >= DEEP_FROM else "shallow"
        shares = SPLITTINGS[splitting]
        if context.embed_dims % shares[0]:
            raise UserError(
                f"model.embed_dims = {context.embed_dims} is not a multiple of {shares[0]}, "
                f"which the {splitting} patch splitting requires"
            )
        assert context.modality is not None
        widths = [context.embed_dims // share for share in shares]
        self.patches = SpikingPatchSplitting(context.channels[context.modality], widths, context.neuron)
        self.blocks = nn.Sequential(*(SpikingBlock(context, config.mlp_ratio) for _ in range(config.depth)))
        self.mlp = SpikingMLP(context, config.mlp_ratio)
        self.recompute = config.recompute

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x, self.recompute)
        for block in self.blocks:
            tokens = checkpointed(block, tokens, recompute=self.recompute)
        return tokens

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """The MLP half of the block whose attention is the fusion: ``[T, B, D, N] -> [T, B, D, N]``."""
        return checkpointed(self.mlp, tokens, recompute=self.recompute)

    @property
    def after_fusion(self) -> Sequence[nn.Module]:
        """The MLP."""
        return (self.mlp,)
