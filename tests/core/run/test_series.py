"""Series of runs: what is taken up again, and what was made with another configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.series import plain, read_result, take_run
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def test_a_run_of_a_version_with_fewer_settings_is_taken(small: Small, tmp_path: Path) -> None:
    parts = small()
    run = take_run(tmp_path / "run", parts)
    text = run.config_file.read_text()
    run.config_file.write_text("".join(line for line in text.splitlines(True) if not line.startswith("mixup")))
    assert run.config_file.read_text() != text
    assert take_run(run.path, parts) == run
    with pytest.raises(UserError, match="made with another configuration"):
        take_run(run.path, small(sets=["data.mixup=0.5"]))


def test_a_result_of_a_version_with_fewer_settings_is_read(small: Small, tmp_path: Path) -> None:
    config = plain(small().config)
    earlier = json.loads(json.dumps(config))
    del earlier["data"]["mixup"], earlier["fusion"]["align"]
    file = tmp_path / "cell.json"
    file.write_text(json.dumps({"config": earlier}))
    assert read_result(file, config) == {"config": earlier}
    with pytest.raises(UserError, match="made with another configuration"):
        read_result(file, plain(small(sets=["data.mixup=0.5"]).config))
