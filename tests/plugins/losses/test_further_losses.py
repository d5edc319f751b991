"""TET, contrastive losses, balance and firing rates, against sums written out by hand."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Context, ModelOutput
from scmrl_plugins.plugins.losses.balance import Balance
from scmrl_plugins.plugins.losses.cross_entropy import CrossEntropy
from scmrl_plugins.plugins.losses.firing_rate import FiringRate
from scmrl_plugins.plugins.losses.infonce import InfoNCE
from scmrl_plugins.plugins.losses.sao import SemanticAlignment
from scmrl_plugins.plugins.losses.similarity import EPS, normalise
from scmrl_plugins.plugins.losses.supcon import SupervisedContrast
from scmrl_plugins.plugins.losses.tet import TemporalEfficientTraining
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical

K = 5
CONTEXT = Context(3, 8, 1, 4, K, {"audio": 1, "visual": 1}, neuron=torch.nn.Identity)
ALL = [
    CrossEntropy,
    SemanticAlignment,
    InfoNCE,
    SupervisedContrast,
    TemporalEfficientTraining,
    Balance,
    FiringRate,
]
CONTRASTIVE = [SemanticAlignment, InfoNCE, SupervisedContrast]
SYMMETRIC = [InfoNCE, SupervisedContrast]

targets = st.lists(st.integers(0, K - 1), min_size=1, max_size=6)
seeds = st.integers(0, 1000)


def build(cls: Any, **config: Any) -> Any:
    return cls(cls.Config(**config), CONTEXT)


def draw(target: list[int], seed: int, steps: int = 3, dims: int = 8) -> ModelOutput:
    """A full output in float64; the features are positive, as the means of spikes are."""
    rng = torch.Generator().manual_seed(seed)
    normal = functools.partial(torch.randn, generator=rng, dtype=torch.float64)
    uniform = functools.partial(torch.rand, generator=rng, dtype=torch.float64)
    b = len(target)
    step_logits = normal(steps, b, K)
    share = uniform(b)
    return ModelOutput(
        step_logits.mean(0),
        {"audio": normal(b, K), "visual": normal(b, K)},
        {"audio": uniform(steps, b, dims), "visual": uniform(steps, b, dims)},
        step_logits,
        {"audio": share, "visual": 1 - share},
        uniform(7),
    )


def aligned(audio: Tensor, visual: Tensor) -> ModelOutput:
    return ModelOutput(torch.zeros(audio.shape[1], K), aligned={"audio": audio, "visual": visual})


def leaves(output: ModelOutput, dtype: torch.dtype) -> tuple[ModelOutput, list[Tensor]]:
    """The same output in another type, with gradients, and its tensors."""
    kept: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        kept.append(x.detach().to(dtype).requires_grad_())
        return kept[-1]

    def each(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: leaf(x) for name, x in tensors.items()}

    return ModelOutput(
        leaf(output.logits),
        each(output.aux_logits),
        each(output.aligned),
        leaf(output.step_logits),
        each(output.shares),
        leaf(output.firing_rates),
    ), kept


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()


def unit(x: Tensor) -> np.ndarray:
    mean = x.mean(0).numpy()
    return np.stack([row / math.sqrt((row**2).sum() + EPS**2) for row in mean])


def contrast(anchors: np.ndarray, others: np.ndarray, positives: list[list[int]], temperature: float) -> float:
    total = 0.0
    for i, of_i in enumerate(positives):
        log_p = log_softmax(np.array([anchors[i] @ other for other in others]) / temperature)
        total -= sum(log_p[p] for p in of_i) / len(of_i)
    return total / len(positives)


def both_ways(output: ModelOutput, positives: list[list[int]], temperature: float) -> float:
    a, v = unit(output.aligned["audio"]), unit(output.aligned["visual"])
    return (contrast(a, v, positives, temperature) + contrast(v, a, positives, temperature)) / 2


@settings(max_examples=40, deadline=None)
@given(target=targets, seed=seeds, temperature=st.sampled_from([0.07, 0.5, 1.0]))
def test_infonce_and_supcon_are_the_sums(target: list[int], seed: int, temperature: float) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    own = [[i] for i in range(len(target))]
    of_class = [[j for j, other in enumerate(target) if other == label] for label in target]
    infonce = build(InfoNCE, temperature=temperature)(output, y)
    assert infonce.item() == pytest.approx(both_ways(output, own, temperature), abs=1e-11)
    supcon = build(SupervisedContrast, temperature=temperature)(output, y)
    assert supcon.item() == pytest.approx(both_ways(output, of_class, temperature), abs=1e-11)
    assert infonce.item() >= 0
    assert supcon.item() >= 0


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(K)), seed=seeds, temperature=st.sampled_from([0.07, 1.0]))
def test_supcon_of_distinct_labels_is_infonce(order: list[int], seed: int, temperature: float) -> None:
    output, y = draw(order, seed), torch.tensor(order)
    infonce, supcon = (build(cls, temperature=temperature)(output, y) for cls in SYMMETRIC)
    torch.testing.assert_close(supcon, infonce)


@pytest.mark.parametrize("cls", SYMMETRIC)
@settings(max_examples=20, deadline=None)
@given(target=targets, seed=seeds)
def test_neither_modality_comes_first(cls: Any, target: list[int], seed: int) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    swapped = aligned(output.aligned["visual"], output.aligned["audio"])
    torch.testing.assert_close(build(cls)(output, y), build(cls)(swapped, y))


@pytest.mark.parametrize("cls", SYMMETRIC)
def test_the_size_of_a_feature_does_not_matter(cls: Any) -> None:
    target = [0, 1, 1, 2]
    output, y = draw(target, 0), torch.tensor(target)
    louder = aligned(10 * output.aligned["audio"], 3 * output.aligned["visual"])
    torch.testing.assert_close(build(cls)(louder, y), build(cls)(output, y), rtol=1e-3, atol=0)


@pytest.mark.parametrize("cls", ALL)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), target=targets, seed=seeds)
def test_the_order_of_the_batch_does_not_matter(cls: Any, data: Any, target: list[int], seed: int) -> None:
    output, y = draw(target, seed), torch.tensor(target)
    order = torch.tensor(data.draw(st.permutations(range(len(target)))))
    other = ModelOutput(
        output.logits[order],
        {name: x[order] for name, x in output.aux_logits.items()},
        {name: x[:, order] for name, x in output.aligned.items()},
        output.step_logits[:, order],
        {name: x[order] for name, x in output.shares.items()},
        output.firing_rates,
    )
    torch.testing.assert_close(build(cls)(other, y[order]), build(cls)(output, y))


def test_infonce_of_aligned_orthogonal_features_tends_to_zero() -> None:
    features, y = torch.eye(6, dtype=torch.float64).unsqueeze(0), torch.zeros(6, dtype=torch.long)
    values = [build(InfoNCE, temperature=t)(aligned(features, features), y).item() for t in (1.0, 0.2, 0.07, 0.02)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-12
    # All alike, it is a guess among six.
    same = torch.ones(1, 6, 4)
    assert build(InfoNCE)(aligned(same, same), y).item() == pytest.approx(math.log(6))


def test_supcon_of_clusters_is_the_guess_within_a_class() -> None:
    """Three of a class at one place, far from the other class: each is one of three."""
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    features = torch.eye(2, dtype=torch.float64)[y].unsqueeze(0)
    loss = build(SupervisedContrast, temperature=0.02)(aligned(features, features), y)
    assert loss.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_contrast_pulls_partners_together(cls: Any) -> None:
    matching, clashing = torch.eye(2).unsqueeze(0), torch.eye(2).flip(0).unsqueeze(0)
    y = torch.tensor([0, 1])
    assert build(cls)(aligned(matching, matching), y) < build(cls)(aligned(matching, clashing), y)


@pytest.mark.parametrize("cls", CONTRASTIVE)
@pytest.mark.parametrize("silent", ["all", "one"])
def test_silent_residuals_have_ordinary_gradients(cls: Any, silent: str) -> None:
    audio, visual = torch.rand(3, 4, 8), torch.rand(3, 4, 8)
    audio[:, : 4 if silent == "all" else 1] = 0
    visual[:, : 4 if silent == "all" else 1] = 0
    audio.requires_grad_()
    visual.requires_grad_()
    loss = build(cls)(aligned(audio, visual), torch.tensor([0, 1, 1, 2]))
    loss.backward()
    assert loss.isfinite()
    for x in (audio, visual):
        assert x.grad.abs().max() < 1e4  # of torch's own normalisation it would be 1e12


def test_normalise_keeps_silence_and_is_near_one_above() -> None:
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [3.0, 4.0]], dtype=torch.float64)
    norms = normalise(x).norm(dim=1)
    assert norms[0] == 0
    assert 0.99 < norms[1] < norms[2] < 1


@pytest.mark.parametrize("cls", CONTRASTIVE)
@pytest.mark.parametrize("given", [None, {}, {"audio": torch.zeros(2, 3, 8)}])
def test_contrast_without_residuals_is_refused(cls: Any, given: dict[str, Tensor] | None) -> None:
    with pytest.raises(UserError, match=r"residuals.*choose a fusion such as 'cmrl'"):
        build(cls)(ModelOutput(torch.zeros(3, K), aligned=given), torch.tensor([0, 1, 2]))


@settings(max_examples=30, deadline=None)
@given(target=targets, seed=seeds, steps=st.integers(1, 4), lamb=st.sampled_from([0.0, 0.05, 1.0]))
def test_tet_is_the_sum(target: list[int], seed: int, steps: int, lamb: float) -> None:
    output = draw(target, seed, steps)
    logits = output.step_logits.numpy()
    entropy = [-log_softmax(logits[t, i])[label] for t in range(steps) for i, label in enumerate(target)]
    expected = (1 - lamb) * np.mean(entropy) + lamb * np.mean((logits - 0.7) ** 2)
    loss = build(TemporalEfficientTraining, lamb=lamb, means=0.7).eval()
    assert loss(output, torch.tensor(target)).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("training", [True, False])
def test_tet_of_equal_steps_is_ce(training: bool) -> None:
    y = torch.tensor([0, 4, 2, 2])
    logits = draw([0] * 4, 3).logits
    output = ModelOutput(logits, step_logits=logits.expand(6, 4, K))
    tet, ce = (
        build(cls, label_smoothing=0.2).train(training) for cls in (TemporalEfficientTraining, CrossEntropy)
    )
    torch.testing.assert_close(tet(output, y), ce(output, y))


def test_tet_is_no_less_than_ce_of_the_mean() -> None:
    """Jensen: the logarithm of a softmax is concave in the logits."""
    y = torch.tensor([0, 4, 2, 2])
    output = draw(y.tolist(), 5)
    assert build(TemporalEfficientTraining)(output, y) > build(CrossEntropy, heads=False)(output, y)


def test_ce_can_leave_the_heads_to_others() -> None:
    y = torch.tensor([0, 4, 2, 2])
    output = draw(y.tolist(), 5)
    alone = build(CrossEntropy)(ModelOutput(output.logits), y)
    torch.testing.assert_close(build(CrossEntropy, heads=False)(output, y), alone)
    assert build(CrossEntropy)(output, y) > alone


@settings(max_examples=30, deadline=None)
@given(target=targets, seed=seeds)
def test_balance_is_the_sum(target: list[int], seed: int) -> None:
    output = draw(target, seed)
    total = 0.0
    for name in ("audio", "visual"):
        logits, share = output.aux_logits[name].numpy(), output.shares[name].numpy()
        total -= sum((1 - share[i]) * log_softmax(logits[i])[label] for i, label in enumerate(target))
    loss = build(Balance).eval()(output, torch.tensor(target))
    assert loss.item() == pytest.approx(total / len(target), abs=1e-11)


@pytest.mark.parametrize("training", [True, False])
def test_balance_of_equal_shares_is_half_of_both_heads(training: bool) -> None:
    y = torch.tensor([0, 4, 2, 2])
    output = draw(y.tolist(), 5)
    output.shares = {name: torch.full((4,), 0.5, dtype=torch.float64) for name in ("audio", "visual")}
    ce = build(CrossEntropy).train(training)
    halves = [ce(ModelOutput(logits), y) / 2 for logits in output.aux_logits.values()]
    torch.testing.assert_close(build(Balance).train(training)(output, y), torch.stack(halves).sum())


def test_balance_slows_the_dominant_modality_and_leaves_shares_alone() -> None:
    y = torch.tensor([0, 4, 2, 2])
    output, _ = leaves(draw(y.tolist(), 5), torch.float64)
    logits = {name: torch.zeros(4, K, requires_grad=True) for name in ("audio", "visual")}
    shares = {"audio": torch.full((4,), 0.8, requires_grad=True), "visual": torch.full((4,), 0.2)}
    build(Balance)(ModelOutput(output.logits, logits, shares=shares), y).backward()
    torch.testing.assert_close(logits["visual"].grad, 4 * logits["audio"].grad)
    assert logits["audio"].grad.any()
    assert shares["audio"].grad is None


@pytest.mark.parametrize("missing", ["shares", "heads"])
def test_balance_says_which_fusion_gives_what_is_missing(missing: str) -> None:
    output = draw([0, 1], 0)
    output.shares = {} if missing == "shares" else output.shares
    output.aux_logits = {"audio": output.logits} if missing == "heads" else output.aux_logits
    with pytest.raises(UserError, match=rf"'balance' needs {missing}.*fusion 'taaf'"):
        build(Balance)(output, torch.tensor([0, 1]))


def test_rate_is_the_squared_distance_to_the_band() -> None:
    rates = torch.tensor([0.0, 0.05, 0.1, 0.25, 0.4, 1.0], dtype=torch.float64, requires_grad=True)
    loss = build(FiringRate, low=0.1, high=0.4)(
        ModelOutput(torch.zeros(1, K), firing_rates=rates), torch.tensor([0])
    )
    loss.backward()
    assert loss.item() == pytest.approx((0.1**2 + 0.05**2 + 0.6**2) / 6)
    assert rates.grad.sign().tolist() == [-1, -1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("cls", "remedy"), [(FiringRate, "record_firing_rates"), (TemporalEfficientTraining, "read-out such as 'add'")]
)
def test_missing_model_outputs_are_requested(cls: Any, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        build(cls)(ModelOutput(torch.zeros(1, K)), torch.tensor([0]))


@pytest.mark.parametrize("cls", ALL)
def test_an_empty_batch_gives_zero_with_gradients(cls: Any) -> None:
    config = {"lamb": 0.1} if cls is TemporalEfficientTraining else {}
    output, kept = leaves(draw([], 0), torch.float32)
    output.firing_rates = output.firing_rates * float("nan")  # as of no samples
    loss = build(cls, **config)(output, torch.zeros(0, dtype=torch.long))
    assert loss.item() == 0
    loss.backward()
    if cls is not FiringRate:  # its gradient passes the nan above
        assert all(x.grad is None or x.grad.isfinite().all() for x in kept)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("target", [[3], [2, 2, 2]])
def test_one_sample_and_one_class_are_finite(cls: Any, target: list[int]) -> None:
    output, kept = leaves(draw(target, 1), torch.float32)
    loss = build(cls)(output, torch.tensor(target))
    loss.backward()
    assert loss.isfinite()
    assert all(x.grad is None or x.grad.isfinite().all() for x in kept)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(cls: Any, dtype: torch.dtype) -> None:
    target = [0, 1, 1, 4]
    half, kept = leaves(draw(target, 1), dtype)
    single, _ = leaves(half, torch.float32)
    y = torch.tensor(target)
    loss = build(cls)(half, y)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in kept)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = build(cls)(single, y)
    torch.testing.assert_close(loss, build(cls)(single, y))
    torch.testing.assert_close(mixed, loss)


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_many_dimensions_do_not_overflow_in_half(cls: Any) -> None:
    """8192 / 0.07 is beyond float16's 65504."""
    audio = torch.ones(4, 3, 8192, dtype=torch.float16, requires_grad=True)
    visual = torch.ones(4, 3, 8192, dtype=torch.float16)
    visual[:, 0, ::2] = 0
    for mixed in (False, True):
        with torch.autocast("cpu", dtype=torch.float16, enabled=mixed):
            loss = build(cls)(aligned(audio, visual), torch.tensor([0, 1, 1]))
        (gradient,) = torch.autograd.grad(loss, audio)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    single = build(cls)(aligned(audio.detach().float(), visual.float()), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(loss, single)


def test_losses_have_no_weights() -> None:
    """A loss can then be added to a run that has begun."""
    modules: list[nn.Module] = [build(cls) for cls in ALL]
    assert not any(module.state_dict() for module in modules)


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (InfoNCE, {"temperature": 0.0}),
        (SupervisedContrast, {"temperature": -1.0}),
        (TemporalEfficientTraining, {"lamb": 1.5}),
        (TemporalEfficientTraining, {"label_smoothing": 1.0}),
        (Balance, {"label_smoothing": -0.1}),
        (FiringRate, {"low": -0.1}),
        (FiringRate, {"low": 0.5, "high": 0.4}),
    ],
)
def test_settings_out_of_range_are_refused(cls: Any, wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**wrong)
