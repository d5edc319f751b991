from __future__ import annotations

import torch
from scmrl_gated.fusion import GatedFusion

import scmrl_plugins
from scmrl_plugins.testing import parametrize_with_checks, subjects


@parametrize_with_checks(package="scmrl-gated")
def test_conforms(subject, check):
    check(subject)


def test_training_starts_from_late_fusion():
    (subject,) = subjects(package="scmrl-gated")
    audio, visual = subject.inputs()
    fused = subject.build()(audio, visual)
    assert torch.equal(fused.audio, audio)
    assert torch.equal(fused.visual, visual)


def test_what_one_modality_gains_the_other_loses():
    (subject,) = subjects(package="scmrl-gated")
    fusion = subject.build()
    torch.nn.init.normal_(fusion.weigh.weight)
    ones = torch.ones(2, 3, 16, 5)
    fused = fusion(ones, ones)
    assert not torch.equal(fused.audio, ones)
    torch.testing.assert_close(fused.audio + fused.visual, 2 * ones)


def test_it_is_part_of_a_model():
    model = scmrl_plugins.build({"fusion": {"name": "gated", "strength": 2.0}, "model": {"embed_dims": 32}})
    assert isinstance(model.fusion, GatedFusion)
