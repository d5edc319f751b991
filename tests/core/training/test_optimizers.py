"""Every optimizer of timm: a resumed training is the same to the bit, or the optimizer is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scmrl_plugins.core.config.sections import ExperimentConfig, TrainConfig
from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.core.training import recipe
from scmrl_plugins.registry import UserError

NAMES = [*recipe.timm_optim.list_optimizers(), "lookahead_adamw", "lookahead_adan"]
NEEDS_MORE = ("adahessian", "kron")
"""Second-order gradients, and state that is not made of tensors."""
QUICK = ("adamw", "sgd", "adan", "lamb", "lookahead_adamw", "kron")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(64, 5))
    return layers.to(memory_format=torch.channels_last)  # sums over a tensor round by its layout


def made(module: nn.Module, name: str, **settings: Any) -> torch.optim.Optimizer:
    train = {"lr": 0.01, "weight_decay": 0.1, **settings}
    return recipe.optimizer(module, ExperimentConfig(train=TrainConfig(optimizer=name, **train)))


def work(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(4, 8, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        module(x).square().sum().backward()
        optimizer.step()


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES]
)
def test_a_resumed_training_is_the_same_or_refused(tmp_path: Path, name: str) -> None:
    undisturbed, resumed = network(), network()
    if name.startswith((*NEEDS_MORE, "bnb", "fused")) and not torch.cuda.is_available():
        with pytest.raises(UserError, match=rf"^train\.optimizer = '{name}'.*") as caught:
            made(undisturbed, name)
        assert "\n" not in str(caught.value)
        return
    optimizer = made(undisturbed, name)
    work(undisturbed, optimizer, range(4))
    path = tmp_path / "epoch.safetensors"
    weights.save_training(path, undisturbed, optimizer, TrainingState(1))
    start = {key: value.clone() for key, value in undisturbed.state_dict().items()}
    work(undisturbed, optimizer, range(4, 8))
    again = made(resumed, name)
    weights.load_training(path, resumed, again)
    work(resumed, again, range(4, 8))
    for key, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert not torch.equal(start["0.weight"], undisturbed.state_dict()["0.weight"])


def test_trying_an_optimizer_draws_no_random_numbers_and_needs_no_sane_rate() -> None:
    module = network()
    before = torch.random.get_rng_state()
    made(module, "adan", lr=1e30)
    assert torch.equal(torch.random.get_rng_state(), before)


class Forgetful(torch.optim.SGD):
    """Its steps become smaller, by a count that no state has."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        self.param_groups[0]["lr"] = 1 / self.count
        return super().step(closure)


def test_an_optimizer_that_forgets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(module: nn.Module, **_settings: Any) -> torch.optim.Optimizer:
        return Forgetful(module.parameters(), lr=1.0)

    monkeypatch.setattr(recipe.timm_optim, "create_optimizer_v2", create)
    with pytest.raises(UserError, match="'sgd' cannot be used: it has state that is lost when"):
        made(network(), "sgd")


def test_a_mistyped_name_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^train.optimizer = 'adamww': .*\(did you mean 'adamw'\?\)$"):
        made(network(), "adamww")
