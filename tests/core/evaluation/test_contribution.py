"""The contribution of fusions whose truth is known, from streams that the test sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scmrl_plugins.core.config.layers import validate
from scmrl_plugins.core.data.prepare import load_splits
from scmrl_plugins.core.evaluation.contribution import (
    HEADER,
    contribution,
    crosses,
    crossing,
    derangement,
    rows,
    warning,
)
from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.interfaces import Backbone, ComponentConfig, Context, Fused, Fusion, ModelOutput, Readout
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import Assembly, assemble_model
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import UserError, catalogue, register_inline

CPU = torch.device("cpu")
N = 32
DRAW = np.random.default_rng(3)
A, V = (DRAW.integers(0, 2, N) for _ in range(2))
"""One bit of each sample in audio and in vision. The label is whether they differ."""
LABEL = A ^ V
Small = Callable[..., Assembly]


class Bits(list[dict[str, Any]]):
    """A split whose audio and visual inputs show one bit each, in all pixels."""

    blank: ClassVar[Any] = dict.fromkeys(("audio", "visual"), np.zeros((1, 1, 1), np.float32))

    def __init__(self) -> None:
        pixels = np.ones((1, 4, 4), np.float32)
        super().__init__(
            {"audio": a * pixels, "visual": v * pixels, "label": np.int64(a ^ v)}
            for a, v in zip(A, V, strict=True)
        )


class NoSettings:
    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.steps = context.steps


class Pixels(NoSettings, Backbone):
    """The pixels are the tokens, in each of two stages and in each of D channels."""

    widths = (2, 2)

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.stages = nn.ModuleList([Repeat(context.embed_dims), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        return self.stages[0](x).flatten(3)


class Repeat(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, -1, self.dims, -1, -1)


class Audio(NoSettings, Readout):
    """Logits 0.5 and the mean of the audio stream, or of the joint one: vision counts only through the fusion."""

    further_heads = True

    def forward(self, fused: Fused) -> ModelOutput:
        stream = fused.audio if fused.joint is None else fused.joint
        assert stream is not None
        mean = stream.mean((0, 2, 3))
        return ModelOutput(torch.stack([torch.full_like(mean, 0.5), mean], dim=1))


def differ(x: Tensor, y: Tensor) -> Tensor:
    return (x != y).to(x.dtype)


class Known(NoSettings, Fusion):
    """a' = a + r(a, v), v' = v + 2 a."""

    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        r = {"audio": self.r(audio, visual), "visual": 2 * audio}
        return Fused(audio + r["audio"], visual + r["visual"], residuals=r)


class Ignores(Known):
    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return 1 - 2 * audio


class Copies(Known):
    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return visual


class Half(Known):
    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return audio + visual


class Constant(Known):
    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return torch.full_like(audio, 0.75)


class Silent(Known):
    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return torch.zeros_like(audio)


class Replaces(NoSettings, Fusion):
    """a' = [a != v], v' = v."""

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(differ(audio, visual), visual)


class Joint(NoSettings, Fusion):
    """j = [a != v], a' = a, v' = v."""

    joint: ClassVar[bool] = True

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(audio, visual, joint=differ(audio, visual))


class Hierarchical(Ignores):
    """Between the stages a' = [a != v], v' = v + 1; after them v changes nothing, and a' = a."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.between = nn.ModuleList([Between()])

    def r(self, audio: Tensor, visual: Tensor) -> Tensor:
        return torch.zeros_like(audio)


class Between(nn.Module):
    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return Fused(differ(audio, visual), visual + 1)


class OnlyAudio(Ignores):
    """Drops the visual stream."""

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        return dataclasses.replace(super().forward(audio, visual), visual=None)


FUSIONS = (Ignores, Copies, Half, Constant, Silent, Replaces, Joint, Hierarchical, OnlyAudio)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    catalogue.cache_clear()
    register_inline("backbone", "pixels", Pixels)
    register_inline("readout", "of-audio", Audio)
    for cls in FUSIONS:
        register_inline("fusion", f"known-{cls.__name__.lower()}", cls)
    yield
    catalogue.cache_clear()


def model_of(cls: type[Fusion], batch_size: int = 16) -> AudioVisualModel:
    config = {
        "fusion": {"name": f"known-{cls.__name__.lower()}"},
        "backbone": {"name": "pixels"},
        "readout": {"name": "of-audio"},
        "model": {"steps": 3, "embed_dims": 2, "num_heads": 1, "image_size": 4},
        "train": {"batch_size": batch_size},
    }
    return assemble_model(validate(config), ["same", "other"], {"audio": 1, "visual": 1})[0]


def measured(cls: type[Fusion], batch_size: int = 16, seed: int = 0) -> dict[str, Any]:
    return contribution(model_of(cls, batch_size), Bits(), CPU, seed=seed)


def share(r: np.ndarray, shuffled: np.ndarray) -> float:
    return float(((shuffled - r) ** 2).mean() / (2 * r.var(ddof=1)))


def points(audio: np.ndarray, changed: np.ndarray) -> float:
    """Change of accuracy between two values of the audio stream."""
    return 100 * float(((changed > 0.5) == LABEL).mean() - ((audio > 0.5) == LABEL).mean())


PARTNER = derangement(N, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.integers(0, 1000))
def test_nobody_is_its_own_partner(n: int, seed: int) -> None:
    partners = derangement(n, seed)
    assert sorted(partners) == list(range(n))
    assert (partners != np.arange(n)).all()
    assert (partners == derangement(n, seed)).all()


def test_partners_follow_from_the_seed() -> None:
    assert len({tuple(derangement(20, seed)) for seed in range(8)}) == 8


def test_a_fusion_that_ignores_the_partner() -> None:
    found = measured(Ignores)["audio_from_visual"]
    assert found["rate"] == 1.0
    assert (found["partner_share"], found["shuffled"], found["shuffled_kl"]) == (0, 0, 0)
    assert found["zero"] == pytest.approx(points(1 - A, A))  # its own stream counts
    assert not crosses(found)


def test_a_fusion_that_copies_the_partner() -> None:
    found = measured(Copies)["audio_from_visual"]
    assert found["rate"] == pytest.approx(V.mean())
    assert found["partner_share"] == pytest.approx(share(V, V[PARTNER]))
    assert found["partner_share"] == pytest.approx(1, abs=0.4)  # one draw of 32 partners
    mean = np.mean([share(V, V[derangement(N, seed)]) for seed in range(200)])
    assert mean == pytest.approx(1, abs=0.03)
    assert found["shuffled"] == pytest.approx(points(A + V, A + V[PARTNER]))
    assert found["mean"] == pytest.approx(points(A + V, A + V.mean()))
    assert found["zero"] == pytest.approx(points(A + V, A))
    assert crosses(found)


def test_a_fusion_of_both_in_halves() -> None:
    found = measured(Half)["audio_from_visual"]
    assert found["partner_share"] == pytest.approx(share(A + V, A + V[PARTNER]))
    assert found["partner_share"] == pytest.approx(0.5, abs=0.25)


def test_a_constant_interaction_does_not_depend_on_the_partner_but_counts() -> None:
    found = measured(Constant)["audio_from_visual"]
    assert (found["rate"], found["partner_share"]) == (1, None)
    assert (found["shuffled"], found["mean"]) == (0, 0)
    assert found["zero"] == pytest.approx(points(A + 0.75, A))
    assert not crosses(found)


def test_a_silent_fusion_is_dead() -> None:
    found = measured(Silent)["audio_from_visual"]
    assert (found["rate"], found["dead"], found["partner_share"]) == (0, True, None)
    assert (found["shuffled"], found["shuffled_kl"], found["mean"], found["zero"]) == (0, 0, 0, 0)
    assert not crosses(found)


def test_the_directions_are_apart() -> None:
    """Shuffled audio in the visual stream changes no prediction that is made from the audio stream alone."""
    found = measured(Silent)["visual_from_audio"]
    assert found["rate"] == pytest.approx(A.mean())
    assert found["partner_share"] == pytest.approx(share(A, A[PARTNER]))
    assert (found["shuffled"], found["shuffled_kl"], found["mean"], found["zero"]) == (0, 0, 0, 0)


def test_a_fusion_that_replaces_the_stream() -> None:
    found = measured(Replaces)
    audio, change = found["audio_from_visual"], LABEL - A
    assert audio["rate"] == pytest.approx((change != 0).mean())
    assert audio["partner_share"] == pytest.approx(share(change, (A ^ V[PARTNER]) - A))
    assert audio["shuffled"] == pytest.approx(points(LABEL, A ^ V[PARTNER]))
    assert audio["shuffled"] < -20
    assert audio["mean"] == pytest.approx(points(LABEL, A + change.mean()))
    assert audio["zero"] == pytest.approx(points(LABEL, A))
    visual = found["visual_from_audio"]
    assert (visual["rate"], visual["dead"], visual["partner_share"]) == (0, True, None)


def test_divergence_of_the_shuffled_prediction() -> None:
    p, q = (
        torch.tensor(np.stack([np.full(N, 0.5), x], 1), dtype=torch.float64).log_softmax(1)
        for x in (LABEL, A ^ V[PARTNER])
    )
    expected = nn.functional.kl_div(q, p, reduction="batchmean", log_target=True).item()
    assert measured(Replaces)["audio_from_visual"]["shuffled_kl"] == pytest.approx(expected)


def test_a_joint_stream_takes_from_both() -> None:
    """Without the partner the stream is j(own, 0)."""
    found = measured(Joint)
    for name, own, shuffled in (
        ("audio_from_visual", A, A ^ V[PARTNER]),
        ("visual_from_audio", V, A[PARTNER] ^ V),
    ):
        figures = found[name]
        assert figures["rate"] == pytest.approx(LABEL.mean())
        assert figures["partner_share"] == pytest.approx(share(LABEL, shuffled))
        assert figures["shuffled"] == pytest.approx(points(LABEL, shuffled))
        assert figures["zero"] == pytest.approx(points(LABEL, own))
        assert figures["mean"] == pytest.approx(points(LABEL, own + (LABEL - own).mean()))


def test_scales_of_a_hierarchical_backbone_count() -> None:
    """A change between the stages reaches the prediction, and the visual stream keeps what it had."""
    audio, change = measured(Hierarchical)["audio_from_visual"], LABEL - A
    assert audio["rate"] == pytest.approx((change != 0).mean() / 2)  # half of the elements are of the last block
    assert audio["partner_share"] == pytest.approx(share(change, (A ^ V[PARTNER]) - A))
    assert audio["shuffled"] == pytest.approx(points(LABEL, A ^ V[PARTNER]))
    assert audio["zero"] == pytest.approx(points(LABEL, A))
    assert audio["mean"] == pytest.approx(points(LABEL, A + change.mean()))


def test_a_stream_that_the_fusion_drops_has_no_direction() -> None:
    assert measured(OnlyAudio).keys() == {"audio_from_visual"}


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Half, Replaces, Hierarchical], ids=lambda cls: cls.__name__)
def test_batches_do_not_matter_and_seeds_do(cls: type[Fusion]) -> None:
    whole = measured(cls, batch_size=N)
    for size in (1, 5):
        for name, figures in measured(cls, batch_size=size).items():
            assert figures == pytest.approx(whole[name])
    assert measured(cls, seed=1) != whole


def test_partners_are_corrupted_like_all_samples() -> None:
    """Without vision there is nothing to shuffle: r = a + 0."""
    dropped = Disturbance(dropped=("visual",))
    found = contribution(model_of(Half), Bits(), CPU, disturbance=dropped)["audio_from_visual"]
    assert found["rate"] == pytest.approx(A.mean())
    assert (found["partner_share"], found["shuffled"], found["zero"]) == (0, 0, 0)


def test_the_model_is_left_as_it_was() -> None:
    model = model_of(Half).train()
    state = torch.get_rng_state()
    contribution(model, Bits(), CPU)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_built_in_fusions_that_let_nothing_cross(small: Small) -> None:
    late = small(fusion={"name": "late"})
    found = contribution(late.model, load_splits(late.dataset, late.config, ["test"])["test"], CPU)
    nothing = {"rate": 0, "dead": True, "partner_share": None, "shuffled_kl": 0}
    nothing |= dict.fromkeys(("shuffled", "mean", "zero"), 0)
    assert found == {"audio_from_visual": nothing, "visual_from_audio": nothing}
    assert "'late', by design" in str(warning(late.model, found))
    alone = small(fusion={"name": "audio"}).model
    assert contribution(alone, Bits(), CPU) == {}
    assert warning(alone, {}) is None


@pytest.mark.parametrize("name", ["cmrl", "sca", "cmci", "taaf", "weight-attention", "cmqka"])
def test_built_in_fusions_on_a_batch(small: Small, name: str) -> None:
    """In training mode, and the model keeps its statistics; with currents this high something crosses in each."""
    model = small(fusion={"name": name}, sets=["neuron.threshold=0.01"]).model.eval()
    torch.nn.init.normal_(dict(model.fusion.named_parameters()).get("score.weight", torch.zeros(1, 1)))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = crossing(model, random_inputs(model, CPU, batch=6))
    assert not model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert found.keys() == {"audio_from_visual", "visual_from_audio"}
    assert all(0 <= figures["rate"] <= 1 for figures in found.values())
    assert any(map(crosses, found.values()))
    assert warning(model, found) is None


def test_the_warning_names_the_fusion_the_rates_and_a_remedy() -> None:
    model = model_of(Silent)
    found = {"audio_from_visual": {"rate": 0.001, "dead": True, "partner_share": 0.4}}
    assert warning(model, found) == (
        "nothing crosses between the modalities in fusion 'known-silent': residual rates are "
        "audio from visual 0.10%, dead below 0.5%; lower neuron.threshold, or train with more data or steps"
    )
    found["visual_from_audio"] = {"rate": 0.2, "dead": False, "partner_share": 0.0}
    assert "visual from audio 20.00% (the partner has no effect)" in str(warning(model, found, trained=False))
    found["visual_from_audio"]["partner_share"] = 0.1
    assert warning(model, found) is None


def test_rows_for_a_table() -> None:
    found = measured(Replaces)
    table = rows(found)
    assert all(len(row) == len(HEADER) for row in table)
    assert table[0][0] == "audio from visual"
    assert f"{found['audio_from_visual']['shuffled']:+.1f}" in table[0]
    assert table[1][1:3] == ("0.00% (dead)", "undefined")


def test_one_sample_has_no_partner() -> None:
    with pytest.raises(UserError, match="two samples"):
        contribution(model_of(Half), Bits()[:1], CPU)
