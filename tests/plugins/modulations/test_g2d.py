"""G2D against its equation, and on a step where one teacher is better."""

from __future__ import annotations

import pytest
import torch
from modulation_cases import assert_equal, derived, gradients, like, of, outputs, rig, step_with, subject
from torch import Tensor
from torch.nn import functional as F


@pytest.mark.parametrize(("numbers", "end"), [([0], 1.0), ([0], 0.0), ([0, 1, 2], 1.0)])
def test_gradients_of_the_equation(numbers: list[int], end: float) -> None:
    made = rig("g2d", temperature=2.0, distillation=0.5, features=3.0, end=end)
    found = gradients(made, numbers)
    total: Tensor = torch.zeros(())
    scores = {"audio": 0.0, "visual": 0.0}
    for number in numbers:
        output, features, target = outputs(made, number)
        loss = F.cross_entropy(output.logits, target)
        for name, f in features.items():
            teacher = made.step.teachers[name]
            batch = made.batch(number)
            with torch.no_grad():
                fused = teacher.fused(teacher.tokens(teacher.encode(batch["audio"], batch["visual"])))
                t = teacher.read(fused).logits
            stream = fused.audio if name == "audio" else fused.visual
            p = (t / 2).softmax(1)
            loss = loss + 0.5 * 4 * (p * (p.log() - (output.logits / 2).log_softmax(1))).sum() / len(target)
            loss = loss + 3 * (f - stream.mean((0, 3))).square().mean()  # type: ignore[union-attr]
            scores[name] += float(t.softmax(1)[range(len(target)), target].sum())
        total = total + loss / len(numbers)
    expected = derived(made, total)
    better = max(scores, key=lambda name: scores[name])
    if end:
        expected = {key: 0 * g if of(better, key) else g for key, g in expected.items()}
    assert_equal(found, expected)


def test_the_modality_of_the_better_teacher_does_not_learn() -> None:
    made = subject("g2d").build()
    combined = made.combine({"loss": like(2.0, (3,))()}, step_with(audio=1.0, visual=1.5))
    assert {part: g["0"].tolist() for part, g in combined.items()} == {
        "audio": [2.0] * 3,
        "visual": [0.0] * 3,
        "rest": [2.0] * 3,
    }
    kernels = subject("g2d", parameters="convolutions").build()
    combined = kernels.combine({"loss": like(2.0, (3,), (1, 1, 3, 3))()}, step_with(audio=1.0, visual=1.5))
    assert [bool(g.any()) for g in combined["visual"].values()] == [True, False]


def test_later_both_learn() -> None:
    combined = subject("g2d").build().combine({"loss": like(2.0, (3,))()}, step_with())
    assert all(g["0"].tolist() == [2.0] * 3 for g in combined.values())
