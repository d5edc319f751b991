from __future__ import annotations

import torch
from torch import nn

from scmrl_plugins.bench.speed.operations import Layout, Products


def test_the_arithmetic_of_a_step_is_its_convolutions_and_products() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.ReLU(), nn.Linear(8, 3))
    with Products() as products:
        net(torch.zeros(5, 1, 4, 4)).sum().backward()
    noted = sorted((str(function.overloadpacket), count) for function, _, count in products.calls.values())
    names = {name for name, _ in noted}
    assert names == {"aten.convolution", "aten.convolution_backward", "aten.addmm", "aten.mm"}
    function, ((x, *_), _), _ = next(iter(products.calls.values()))
    assert (str(function), x) == ("aten.convolution.default", Layout((5, 1, 4, 4), (16, 16, 4, 1), torch.float32))


def test_a_layout_is_made_again_with_its_strides() -> None:
    for x in (torch.zeros(3, 4).T, torch.zeros(4, 1).expand(4, 5)):
        made = Layout.of(x).random(torch.device("cpu"))
        assert (made.shape, made.stride(), made.dtype) == (x.shape, x.stride(), x.dtype)
