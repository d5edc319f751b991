"""Runs on the Hub: a folder with a model card, and a server on this machine that stands in for the Hub."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from cli_runs import assert_refused, invoke, run_python
from model_hub import ModelHub, serve

import scmrl_plugins
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import hub
from scmrl_plugins.core.run.directory import Run, create_run, open_run
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
TEST = {
    "split": "test",
    "protocol": "honest",
    "n": 18,
    "accuracy": 0.75,
    "interval": [0.5, 0.9],
    "interval_method": "samples taken as independent",
    "macro_f1": 0.7,
    "audio_alone": 0.5,
    "alone_method": "split",
    "contribution": {"audio_from_visual": {"rate": 0.1, "dead": False, "partner_share": 0.2, "shuffled": -3.0}},
}


@pytest.fixture
def run(small: Small, tmp_path: Path) -> Run:
    made = create_run(tmp_path / "run", small(fusion={"name": "late"}))
    made.write_metrics([TEST])
    return made


def logits(model: AudioVisualModel) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(3, c, 8, 8, generator=draw) for name, c in (("audio", 1), ("visual", 2))}
    with torch.no_grad():
        return model(**inputs).logits


def test_a_folder_is_a_run_with_a_card(run: Run, tmp_path: Path) -> None:
    model = scmrl_plugins.load(run.path)
    model.save_pretrained(tmp_path / "shared", model_card_kwargs={"license": "apache-2.0"})
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        *("README.md", "config.json", "config.toml", "environment.json", "metrics.jsonl", "model.safetensors")
    }
    loaded = AudioVisualModel.from_pretrained(tmp_path / "shared")
    assert not loaded.training
    assert torch.equal(logits(loaded), logits(model))
    assert open_run(tmp_path / "shared").metrics() == [TEST]
    text = (tmp_path / "shared" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "scmrl-plugins"
    results = data["model-index"][0]["results"][0]
    assert results["metrics"][0] == {"type": "accuracy", "name": "accuracy", "value": 0.75}
    for words in (
        "75.00%, 95 % interval 50.00% to 90.00%",
        "Protocol `honest`",
        "`blobs`",
        "SHA-256",
        "audio alone: accuracy 50.00%",
        "| audio from visual | 0.1 | 0.2 | -3 |",
        "## Energy",
        "## Limits",
        "## How to cite",
    ):
        assert words in body


def test_a_model_that_was_never_a_run_is_saved_too(small: Small, tmp_path: Path) -> None:
    model = small(fusion={"name": "late"}).model.eval()
    model.save_pretrained(tmp_path / "shared")
    assert torch.equal(logits(AudioVisualModel.from_pretrained(tmp_path / "shared")), logits(model))
    assert "The run has no test result." in (tmp_path / "shared" / "README.md").read_text()


@pytest.mark.parametrize("name", ["hf://", "hf://a/b/c", "hf://../x", "hf://user/../name", "hf://us er/name"])
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no name of a repository"):
        open_run(name)


def test_a_hub_that_does_not_answer_is_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and not listening
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            pytest.raises(UserError, match="hf://user/name: the hub cannot be reached"),
            hub.explained("hf://user/name"),
        ):
            huggingface_hub.get_session().get(address)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    """A hub, as processes of their own see it."""
    with serve("hf_secret") as up:
        yield up


PROGRAM = """
import json, os, sys
sys.path[:0] = json.loads(os.environ["HELPERS"])
from blob_data import ENTRY
from scmrl_plugins.registry import catalogue
catalogue().entries.append(ENTRY)
from cli_runs import invoke
import huggingface_hub
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from test_hub_program import logits
run, found = sys.argv[1], {}
outcome = lambda *args: (lambda done: [done.code, done.out, done.err])(invoke(*args))
found["anonymous"] = outcome("push", run, "user/name")
os.environ["HF_TOKEN"] = "hf_secret"
found["pushed"] = outcome("push", run, "user/name", "--json")
found["evaluated"] = outcome("eval", "hf://user/name", "--device", "cpu", "--json")
found["absent"] = outcome("eval", "hf://user/other")
huggingface_hub.constants.HF_HUB_OFFLINE = True
found["offline"] = outcome("eval", "hf://user/name", "--device", "cpu", "--json")
found["loaded"] = logits(AudioVisualModel.from_pretrained("user/name")).tolist()
found["not cached"] = outcome("eval", "hf://user/third")
found["offline push"] = outcome("push", run, "user/name")
print(json.dumps(found))
"""


@pytest.mark.slow
def test_push_evaluate_and_load_without_a_network(run: Run, server: ModelHub, tmp_path: Path) -> None:
    (run.path / "checkpoints" / "epoch-00001.safetensors").write_bytes(b"x")
    (tmp_path / "test_hub_program.py").write_text(
        "import torch\n\ndef logits(model):\n"
        "    draw = torch.Generator().manual_seed(0)\n"
        "    inputs = {n: torch.randn(3, c, 8, 8, generator=draw) for n, c in (('audio', 1), ('visual', 2))}\n"
        "    with torch.no_grad():\n        return model(**inputs).logits\n"
    )
    helpers = [str(tmp_path), *(path for path in sys.path if path.endswith(("helpers", "fuzz")))]
    env = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "hf"), "HELPERS": json.dumps(helpers)}
    env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "SCMRL_CACHE": os.environ["SCMRL_CACHE"]}
    done = run_python("-c", PROGRAM, str(run.path), cwd=tmp_path, **env)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    for case, words in {
        "anonymous": "log in",
        "absent": "no such repository",
        "not cached": "not in the cache",
        "offline push": "cannot be reached",
    }.items():
        code, out, err = found[case]
        assert (code, out, len(err.splitlines())) == (2, "", 1), (case, found[case])
        assert words in err, err
    assert json.loads(found["pushed"][1])["run"] == "hf://user/name"
    repository = server.repositories["user/name"]
    assert set(repository) == {*hub.FILES, "README.md"} - {"skipped.json", "report.html"}
    assert repository["model.safetensors"]
    assert b"test samples" in repository["README.md"]
    assert b"SHA-256 of the ids and labels of `test`" in repository["README.md"]
    online, offline = (json.loads(found[case][1]) for case in ("evaluated", "offline"))
    assert online["accuracy"] == offline["accuracy"]
    assert torch.tensor(found["loaded"]).equal(logits(run.load_model()))
    fetched = {one.rpartition("/")[2] for one in server.asked if "/resolve/" in one}
    assert fetched <= {*hub.FILES}


def test_a_run_on_the_hub_is_not_trained(run: Run) -> None:
    assert_refused(invoke("train", "hf://user/name"), "a run on the Hub is not trained")
