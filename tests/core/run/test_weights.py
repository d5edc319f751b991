"""Weights and training states, restored to the bit, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scmrl_plugins.core.run import weights
from scmrl_plugins.core.run.weights import TrainingState
from scmrl_plugins.registry import UserError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Linear(5, 2))


def trained(steps: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    module = network(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.01)
    work(module, optimizer, steps)
    return module, optimizer


def work(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        module(torch.randn(6, 3, 5, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    module, _ = trained()
    other = network(1)
    assert not same(module, other)
    weights.save_weights(tmp_path / "m.safetensors", module, {"epoch": "3"})
    weights.load_weights(tmp_path / "m.safetensors", other)
    assert same(module, other)
    assert leftovers(tmp_path) == ["m.safetensors"]
    (tmp_path / "by the umask").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_training_resumes_bit_identically(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    module, optimizer = trained()
    state = TrainingState(epoch=3, best_epoch=2, best_accuracy=0.1 + 0.2, best_loss=1 / 3)
    weights.save_training(path, module, optimizer, state)

    other = network(1)
    resumed = torch.optim.AdamW(other.parameters(), lr=0.1, weight_decay=0.01)
    assert weights.load_training(path, other, resumed) == state
    assert same(module, other)
    for ours, theirs in zip(optimizer.state.values(), resumed.state.values(), strict=True):
        assert ours.keys() == theirs.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    work(module, optimizer, 2)
    work(other, resumed, 2)
    assert same(module, other)


def test_the_first_state_survives(tmp_path: Path) -> None:
    module = network(0)
    optimizer = torch.optim.AdamW(module.parameters())
    weights.save_training(tmp_path / "e.safetensors", module, optimizer, TrainingState())
    state = weights.load_training(tmp_path / "e.safetensors", module, optimizer)
    assert state == TrainingState()
    assert state.best_loss == float("inf")


def test_loading_keeps_the_learning_rate_of_the_recipe(tmp_path: Path) -> None:
    module, optimizer = trained()
    weights.save_training(tmp_path / "e.safetensors", module, optimizer, TrainingState(1))
    other = torch.optim.AdamW(module.parameters(), lr=0.5)
    weights.load_training(tmp_path / "e.safetensors", module, other)
    assert other.param_groups[0]["lr"] == 0.5


def test_damaged_files_are_refused_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    module, optimizer = trained()
    weights.save_training(path, module, optimizer, TrainingState(1))
    content = path.read_bytes()
    broken = {
        "truncated": content[: len(content) // 2],
        "header only": content[:20],
        "empty": b"",
        "text": b"not a checkpoint at all, but long enough to have a header",
        "overlong header": b"\xff" * 64,
        "pickle": b"\x80\x04}\x94.",
    }
    other = network(1)
    kept = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    resumed = torch.optim.AdamW(other.parameters())
    for name, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or not a safetensors file"):
            weights.load_training(path, other, resumed)
        with pytest.raises(UserError, match="damaged or not a safetensors file"):
            weights.load_weights(path, other)
        assert all(torch.equal(kept[key], tensor) for key, tensor in other.state_dict().items()), name
    with pytest.raises(UserError, match="no such file"):
        weights.load_weights(tmp_path / "nowhere.safetensors", other)
    with pytest.raises(UserError, match="not a regular file"):
        weights.load_weights(tmp_path, other)


def test_files_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    module, optimizer = trained()
    weights.save_weights(path, module)
    with pytest.raises(UserError, match=r"the weights do not fit the model \(first difference: '0\.bias'\)"):
        weights.load_weights(
            path, nn.Sequential(nn.Conv1d(3, 4, 1, bias=False), nn.BatchNorm1d(4), nn.Linear(5, 2))
        )
    with pytest.raises(UserError, match=r"the weights do not fit the model \(first difference: '2\."):
        weights.load_weights(path, nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Linear(5, 3)))
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        weights.load_training(path, module, optimizer)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["2.weight", "1.running_var"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    module, other = network(0), network(1)
    module.state_dict()[name].view(-1)[1] = value
    weights.save_weights(tmp_path / "m.safetensors", module)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    with pytest.raises(
        UserError, match=rf"m\.safetensors: {name} has values that are not finite: restore the file"
    ):
        weights.load_weights(tmp_path / "m.safetensors", other)
    assert all(torch.equal(before[key], tensor) for key, tensor in other.state_dict().items())


def test_a_buffer_that_begins_infinite_may_be(tmp_path: Path) -> None:
    masked = network(0)
    masked.register_buffer("mask", torch.full((3,), -torch.inf))
    weights.save_weights(tmp_path / "m.safetensors", masked)
    weights.load_weights(tmp_path / "m.safetensors", masked)


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    weights.save_weights(path, network(0).half())
    with pytest.raises(UserError, match=r"0\.bias is float16, the model has float32: restore the file or train"):
        weights.load_weights(path, network(1))


@pytest.mark.parametrize(
    "metadata",
    [
        {"state": "{", "optimizer": "{}"},
        {"state": '{"epochs": 3}', "optimizer": "{}"},
        {"state": "[1]", "optimizer": "{}"},
        {"state": "{}", "optimizer": "[1]"},
        {"state": "{}", "optimizer": '{"x.step": 1}'},
        {"state": "{}"},
    ],
)
def test_foreign_metadata_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    module, optimizer = trained()
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    save_file(tensors, tmp_path / "e.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        weights.load_training(tmp_path / "e.safetensors", module, optimizer)


def test_state_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    """A run whose ``train.optimizer`` was changed must not continue with the moments of the old one."""
    module = network(0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    work(module, optimizer, 2)
    weights.save_training(tmp_path / "e.safetensors", module, optimizer, TrainingState(1))
    with pytest.raises(UserError, match=r"saved with SGD, but train\.optimizer is AdamW"):
        weights.load_training(tmp_path / "e.safetensors", module, torch.optim.AdamW(module.parameters()))


def test_the_old_checkpoint_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    module, _ = trained()
    weights.save_weights(path, module)
    before = path.read_bytes()

    def full(tensors: object, temporary: Path, metadata: object) -> None:
        Path(temporary).write_bytes(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(
        UserError, match=r"m\.safetensors: cannot be saved \(No space left on device\); free space"
    ):
        weights.save_weights(path, network(1))
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == ["m.safetensors"]


FORGED: list[dict[str, Any]] = [
    {"0.step": "three"},
    {"0.step": 10**400},
    {"0.step": -1.0},
    {"0.step": torch.tensor(-1.0)},
    {"0.step": torch.tensor(float("nan"))},
    {"0.step": torch.ones(4, 3, 1)},
    {"0.exp_avg": 3},
    {"0.exp_avg": torch.zeros(2)},
    {"0.exp_avg": torch.zeros(1)},
    {"0.exp_avg": torch.zeros(4, 3, 1, dtype=torch.int64)},
    {"0.new": torch.zeros(10**6)},
    {"0.new": [1]},
    {"99.step": torch.tensor(1.0)},
    {"-1.step": torch.tensor(1.0)},
    {"groups.0.lr": 1e9},
    {"groups.0.params": 3},
    {"groups.0.eps": "x"},
    {"groups.0.eps": True},
    {"groups.9.eps": 1e-8},
]


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_a_forged_state_with_an_intact_digest_is_one_line(tmp_path: Path, forged: dict[str, Any]) -> None:
    """Also where an optimizer would fail with it only in its next step, or use it without a word."""
    path, (module, optimizer) = tmp_path / "e.safetensors", trained()
    weights.save_training(path, module, optimizer, TrainingState(1))
    tensors, metadata = weights._read(path)
    values = json.loads(metadata["optimizer"])
    for name, value in forged.items():
        tensors.pop(f"optimizer.{name}", None)
        if isinstance(value, torch.Tensor):
            tensors[f"optimizer.{name}"] = value
        else:
            values[name] = value
    weights._write(path, tensors, {**metadata, "optimizer": json.dumps(values)})
    with pytest.raises(UserError, match=r"e.safetensors: (not a checkpoint|the optimiser state does not match)"):
        weights.load_training(path, *trained())


@pytest.mark.parametrize(
    "state",
    [{"epoch": -1}, {"epoch": 10**400}, {"step": 1.5}, {"sums": {"loss": "x"}}, {"sums": {"loss": float("nan")}}],
    ids=lambda state: str(state)[:20],
)
def test_a_forged_position_is_one_line(tmp_path: Path, state: dict[str, Any]) -> None:
    path, (module, optimizer) = tmp_path / "e.safetensors", trained()
    weights.save_training(path, module, optimizer, TrainingState(1))
    tensors, metadata = weights._read(path)
    weights._write(path, tensors, {**metadata, "state": json.dumps({**json.loads(metadata["state"]), **state})})
    with pytest.raises(UserError, match=r"e.safetensors: not a checkpoint of a training run"):
        weights.load_training(path, *trained())
