"""``scmrl export`` and ``import`` as typed: JSON, a run that other commands take, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_runs import assert_refused, invoke
from safetensors.torch import load_file


def test_export_says_what_was_written(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    done = invoke("export", trained, "--format", "safetensors", "-o", file, "--json")
    assert done.code == 0, done.err
    output = json.loads(done.out)
    assert output["path"] == str(file)
    assert (output["format"], output["steps"], output["max_difference"]) == ("safetensors", 2, 0)
    assert output["inputs"] == {"audio": ["batch", 1, 8, 8], "visual": ["batch", 1, 8, 8]}
    assert output["verified"] == output["same_top1"] > 0
    assert output["verified_on"] == "test split"
    assert_refused(
        invoke("export", trained, "--format", "safetensors", "-o", file, "--partial"), "--partial", "complete"
    )
    assert_refused(invoke("export", trained, "--format", "onx"), "onnx")


@pytest.mark.slow
def test_an_imported_run_is_one_that_other_commands_take(trained: Path, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in load_file(trained / "model.safetensors").items()}
    file, run = tmp_path / "a.pth.tar", tmp_path / "run"
    torch.save({"epoch": 1, "state_dict": state}, file)
    done = invoke("import", file, "-c", trained / "config.toml", "-o", run)
    assert done.code == 0, done.err
    assert "under state_dict" in done.out
    assert "without the prefixes module." in done.out
    evaluated = [json.loads(invoke("eval", one, "--device", "cpu", "--json").out) for one in (trained, run)]
    assert evaluated[0]["accuracy"] == evaluated[1]["accuracy"]
    assert f"test accuracy {evaluated[1]['accuracy']:.2%}" in done.out
    explained = invoke("explain", run, "--device", "cpu", "-o", tmp_path / "page.html")
    assert explained.code == 0, explained.err
    assert (tmp_path / "page.html").is_file()
    refused = invoke("import", file, "-c", trained / "config.toml", "--fusion", "late", "-o", tmp_path / "other")
    assert_refused(refused, "unused: fusion.", "does not fit the model")
    assert not (tmp_path / "other").exists()


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert_refused(invoke("import", "none.pt", "-o", tmp_path / "run"), "none.pt")
    assert_refused(invoke("push", "none", "user/name"), "none: no run there")
    assert not (tmp_path / "run").exists()
