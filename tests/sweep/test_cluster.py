from __future__ import annotations

from typing import Any

import pytest

from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep import cluster
from scmrl_plugins.sweep.sweep import SweepSection


@pytest.mark.parametrize(
    ("machines", "section", "device", "count", "shares"),
    [
        ([(2, 0)], {}, "auto", 8, (1, 0, 2)),
        ([(8, 0)], {}, "auto", 3, (2, 0, 3)),
        ([(8, 0)], {"parallel": 2}, "auto", 8, (4, 0, 2)),
        ([(8, 0)], {"cpus": 3}, "auto", 8, (3, 0, 2)),
        ([(8, 2)], {}, "auto", 8, (4, 1, 2)),
        ([(8, 2)], {"gpus": 0.5}, "cuda", 8, (2, 0.5, 4)),
        ([(8, 2)], {}, "cpu", 8, (1, 0, 8)),
        ([(4, 1), (4, 1), (16, 0)], {}, "auto", 8, (4, 1, 2)),
        ([(4, 1), (16, 0)], {"gpus": 0.0, "parallel": 3}, "auto", 8, (5, 0, 3)),
        ([(3, 0), (3, 0)], {"parallel": 4}, "auto", 8, (1, 0, 4)),
    ],
)
def test_trials_share_the_machines(
    machines: list[tuple[float, float]], section: dict[str, Any], device: str, count: int, shares: tuple[Any, ...]
) -> None:
    result = cluster.share(machines, SweepSection(**section), count, device)
    assert (result.cpus, result.gpus, result.parallel) == shares


@pytest.mark.parametrize(
    ("section", "device", "message"),
    [
        ({"cpus": 4}, "auto", "no machine has 4 cores and 0 GPUs for a trial, there are 2 cores and 0 GPUs; set"),
        ({"gpus": 1.0}, "auto", "no machine has 1 cores and 1 GPUs for a trial"),
        ({}, "cuda", "--device cuda: no trial gets a GPU"),
    ],
)
def test_what_no_machine_has_is_refused(section: dict[str, Any], device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cluster.share([(2, 0)], SweepSection(**section), 8, device)
