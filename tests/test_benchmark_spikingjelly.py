"""benchmarks/spikingjelly_model.py: the network from SpikingJelly's parts is ours, and the benchmark runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spikingjelly")

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "spikingjelly_model.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("spikingjelly_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("image_size", [32, 64])  # shallow and deep patch splitting
def test_spikes_logits_and_gradients_are_those_of_ours(script: Any, image_size: int) -> None:
    settings = replace(script.SMALL, dims=32, image_size=image_size, batch=2)
    found = script.compare(settings, "cpu")["float64"]
    assert found["differing"] == 0
    assert found["silent_layers"] == []  # or equal spikes would say nothing
    assert found["logits"] < 1e-12
    assert found["gradients"] < 1e-12


def test_a_network_that_is_another_one_is_seen(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = script.lif

    def slower(config: Any) -> Any:
        node = original(config)
        node.tau = 2.1
        return node

    monkeypatch.setattr(script, "lif", slower)
    found = script.compare(replace(script.SMALL, dims=32), "cpu")["float64"]
    assert found["differing"] > 0
    assert found["gradients"] > 1e-3


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--small", "--repeats", "1", "--threads", "1", "-o", tmp_path, "--json"]
    printed = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    results = json.loads(printed)
    assert results["compared"]["float64"]["differing"] == 0
    for kind in ("train", "inference"):
        assert results[f"{kind}_ratio"]["spikingjelly"] > 0
    assert json.loads((tmp_path / "spikingjelly.json").read_text())["settings"]["dims"] == 32
    assert "| SpikingJelly 2" in (tmp_path / "spikingjelly.md").read_text()
