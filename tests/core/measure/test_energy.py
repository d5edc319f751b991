from __future__ import annotations

import pytest
import torch

from scmrl_plugins.core.measure import energy, operations


def test_energy_counts_spikes_and_products_by_hand(small) -> None:
    """One convolution a modality sees the image; all others see spikes, each costing what it adds."""
    model = small(fusion={"name": "late"}).model.eval()
    images = operations.random_inputs(model, torch.device("cpu"), batch=3)
    spikes: list[float] = []

    def count(module: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        fan_out = module.weight[:, 0].numel() if module.weight.dim() > 2 else module.weight.shape[0]
        if isinstance(module, torch.nn.Conv2d):
            x = given[0]
            places = x.shape[-1] * x.shape[-2]
            spikes.append(x.sum().item() / x.numel() * places * x.shape[1] * fan_out * len(x) / 3)
        else:
            spikes.append(given[0].sum().item() * fan_out / 3)

    first = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv1d) and not name.endswith("stages.0.conv"):
            module.register_forward_pre_hook(count)
        elif name.endswith("stages.0.conv"):
            first.append(module)
    spent = energy.estimate(model, [images])
    size, steps = model.config.model.image_size, model.config.model.steps
    analogue = sum(conv.weight.numel() * size * size for conv in first)  # of the image, once for all steps
    head = model.readout.head.weight.numel() * steps  # its inputs are means, not integers
    assert spent.multiply_accumulates == pytest.approx(analogue + head)
    assert spent.accumulates == pytest.approx(sum(spikes), rel=1e-6)
    assert sum(spikes) > 0
    assert spent.joules == pytest.approx(4.6e-12 * spent.multiply_accumulates + 0.9e-12 * spent.accumulates)


def test_energy_is_the_mean_over_all_samples(small) -> None:
    """Batches of different sizes with different spikes count by their samples, not by their number."""
    model = small(fusion={"name": "late"}).model.eval()
    images = operations.random_inputs(model, torch.device("cpu"), batch=5)
    images = {name: x * torch.linspace(0.5, 3, 5).view(-1, 1, 1, 1) for name, x in images.items()}
    parts = [{name: x[start:stop] for name, x in images.items()} for start, stop in ((0, 1), (1, 3), (3, 5))]
    first, together = energy.estimate(model, parts[:1]), energy.estimate(model, parts)
    assert together.joules == pytest.approx(energy.estimate(model, [images]).joules)
    assert first.joules < together.joules
