"""What a report claims, on networks whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import constructed
import pytest
import torch
from torch import Tensor, nn
from trainings import trainer

from scmrl_plugins.core.measure.saliency import grad_cam
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.explain import findings, measured
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.explain.facts import Facts, facts
from scmrl_plugins.explain.figures import FIGURES
from scmrl_plugins.explain.inside import attended_modalities, examine
from scmrl_plugins.registry import catalogue

Small = Callable[..., Assembly]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fusions(blobs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructed fusions have names."""
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, *constructed.entries()])


def known(small: Small, path: Path, fusion: str, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A run of one epoch with this fusion, measured without its curves."""
    monkeypatch.setattr(measured, "DECIBELS", ())
    monkeypatch.setattr(measured, "SHARES", ())
    run = create_run(path, small(fusion={"name": fusion}, sets=["train.epochs=1"]))
    trainer(run.assemble()).fit(Run(path))
    found = facts(run)
    found.measured = measured.measure(run.assemble(), CPU, Clock(300), Progress.silent())
    return found


def text_of(found: Facts) -> str:
    return " ".join(one.text for one in findings.findings(found))


def test_a_fusion_that_ignores_the_partner_is_dead(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(small, tmp_path / "run", "ignoring", monkeypatch)
    assert findings.findings(found)[0].weight == "bad"
    assert findings.findings(found)[0].text.startswith("The fusion is dead: nothing crosses")


@pytest.mark.slow
def test_a_fusion_that_copies_the_partner_is_live(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(small, tmp_path / "run", "copying", monkeypatch)
    text = text_of(found)
    assert "The fusion is live" in text
    assert "dead" not in text
    assert "nothing crosses" not in text
    carried = found.measured.carried  # type: ignore[union-attr]
    assert carried is not None
    gain = carried.accuracy("audio", "visual") - carried.baseline
    assert sum(carried.shares.values()) == pytest.approx(gain)


@pytest.mark.slow
def test_a_model_that_uses_audio_alone_is_carried_by_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(small, tmp_path / "run", "listening", monkeypatch)
    carried = found.measured.carried  # type: ignore[union-attr]
    assert carried is not None
    assert carried.accuracy("audio") == carried.accuracy("audio", "visual")
    assert carried.without("visual") == carried.accuracy("audio", "visual")
    gain = carried.accuracy("audio", "visual") - carried.baseline
    # What the model says without audio is the same for every sample.
    silent = carried.accuracy("visual") - carried.baseline
    assert carried.shares["audio"] == pytest.approx(gain - silent / 2)
    assert carried.shares["visual"] == pytest.approx(silent / 2)
    names = found.measured.examples[0].cams  # type: ignore[union-attr]
    assert not names["visual"].any()


def test_sections_of_what_was_measured_are_drawn(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(small, tmp_path / "run", "copying", monkeypatch)
    for section in ("space", "robustness", "costs"):
        drawings = [drawing for one in FIGURES if one.section == section for drawing in one.draw(found)]
        assert drawings, section
        for drawing in drawings:
            assert drawing.svg.startswith("<svg"), section
            assert drawing.text, section


@pytest.mark.parametrize("fusion", ["late", "copying"])
def test_grad_cam_points_at_the_planted_patch(small: Small, fusion: str) -> None:
    model = constructed.looking(small(fusion={"name": fusion}).model)
    audio, visual = constructed.planted(3, 0, 1), constructed.planted(1, 2, 2)
    requires = [parameter.requires_grad for parameter in model.parameters()]
    cams = grad_cam(model, audio, visual, torch.tensor([1]))
    assert constructed.peak(cams["audio"][0]) == (3, 0)
    assert constructed.peak(cams["visual"][0]) == (1, 2)
    assert cams["audio"].shape == (1, 16)
    assert float(cams["audio"].max()) == 1.0
    assert int(cams["audio"].count_nonzero()) == 1
    assert [parameter.requires_grad for parameter in model.parameters()] == requires
    assert all(parameter.grad is None for parameter in model.parameters())


class _Ones(nn.Module):
    """A query that asks for everything."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def test_attention_points_at_the_planted_patch(small: Small) -> None:
    """With keys and values that are the tokens, and a query that asks for everything."""
    parts = small(fusion={"name": "cmrl", "attention": "spatial", "align": False})
    model = constructed.looking(parts.model)
    fusion: Any = model.fusion
    for direction in (fusion.audio_from_visual, fusion.visual_from_audio):
        direction.spatial.query, direction.spatial.key = _Ones(), nn.Identity()
    inputs = {"audio": constructed.planted(0, 3, 1), "visual": constructed.planted(2, 1, 2)}
    assert attended_modalities(model, inputs) == {
        "fusion.audio_from_visual.spatial": "visual",
        "fusion.visual_from_audio.spatial": "audio",
    }
    example = examine(model, inputs, 0, "planted")
    for name, place in (("audio", (0, 3)), ("visual", (2, 1))):
        found = torch.from_numpy(example.attention[name])
        assert constructed.peak(found) == place
        assert int(found.count_nonzero()) == 1
