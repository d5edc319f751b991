"""MMPareto against its equation, and on gradients with a known shortest combination."""

from __future__ import annotations

import pytest
import torch
from modulation_cases import Named, assert_equal, derived, gradients, of, outputs, rig, subject
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import TrainingStep
from scmrl_plugins.plugins.modulations.mmpareto import share


def flat(named: Named, modality: str) -> Tensor:
    return torch.cat([g.flatten() for name, g in sorted(named.items()) if of(modality, name)])


@pytest.mark.parametrize("numbers", [[0], [0, 1, 2]])
def test_gradients_of_the_equation(numbers: list[int]) -> None:
    made = rig("mmpareto")
    if len(numbers) > 1:  # a head that wants the opposite
        made.modulation.heads["audio"].weight.data = -20 * made.model.readout.head.weight.data.clone()
    found = gradients(made, numbers)
    joint: Tensor = torch.zeros(())
    alone: dict[str, Tensor] = {"audio": torch.zeros(()), "visual": torch.zeros(())}
    for number in numbers:
        output, features, target = outputs(made, number)
        joint = joint + F.cross_entropy(output.logits, target) / len(numbers)
        for name, f in features.items():
            logits = made.modulation.heads[name](f)
            alone[name] = alone[name] + F.cross_entropy(logits, target) / len(numbers)
    u, t = derived(made, joint), derived(made, joint + alone["audio"] + alone["visual"])
    expected = dict(t)
    conflicts = []
    for name in ("audio", "visual"):
        w = derived(made, alone[name])
        u_all, w_all = flat({k: u.get(k, torch.zeros_like(g)) for k, g in w.items()}, name), flat(w, name)
        conflicts.append(bool(u_all @ w_all <= 0))
        c = 0.5
        if conflicts[-1]:
            c = float((w_all - u_all) @ w_all / (u_all - w_all).square().sum())
            c = 0.999 if u_all @ w_all >= u_all.square().sum() else c
            c = 0.001 if u_all @ w_all >= w_all.square().sum() and c != 0.999 else c
        for key in (key for key in t if of(name, key)):
            h = 2 * c * u[key] + 2 * (1 - c) * w[key]
            grown = max(1.0, float(t[key].norm() / h.norm())) if h.any() else 1.0
            expected[key] = 1.5 * h * grown
    assert any(conflicts) == (len(numbers) > 1)
    assert_equal(found, expected)


def test_the_shortest_combination() -> None:
    assert share({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([-1.0, 1.0])}) == pytest.approx(0.6)
    assert share({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([1.0, 1.0])}) == 0.5
    assert share({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 0.0])}) == 0.001
    assert share({"w": torch.zeros(2)}, {"w": torch.zeros(2)}) == 0.999


def test_a_conflict_is_resolved_and_agreement_grows_by_gamma() -> None:
    made = subject("mmpareto").build()
    joint = {name: {"w": torch.tensor([1.0, 0.0])} for name in ("audio", "visual", "rest")}
    audio = {**joint, "audio": {"w": torch.tensor([-1.0, 1.0])}, "visual": {"w": torch.zeros(2)}}
    visual = {**joint, "audio": {"w": torch.zeros(2)}, "visual": {"w": torch.tensor([2.0, 0.0])}}
    combined = made.combine({"joint": joint, "audio": audio, "visual": visual}, TrainingStep())
    # h = (0.4, 0.8), |h| = sqrt(0.8), and t = (0, 1): h grows to its length.
    assert combined["audio"]["w"].tolist() == pytest.approx([1.5 * 0.4 / 0.8**0.5, 1.5 * 0.8 / 0.8**0.5])
    assert combined["visual"]["w"].tolist() == [4.5, 0.0]
    assert combined["rest"]["w"].tolist() == [3.0, 0.0]
