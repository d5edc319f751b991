from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli_runs import SMALL, assert_refused, contents, fork_scmrl, invoke
from plugin_site import PluginSite

import scmrl_plugins
from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.registry import catalogue

KINDS = {
    "neuron": "lif",
    "encoder": "direct",
    "backbone": "spikformer",
    "fusion": "cmrl",
    "readout": "add",
    "loss": ["ce", "sao"],
    "dataset": "av-digits",
    "modulation": "none",
}


def built_in(kind: str) -> list[str]:
    return [entry.name for entry in catalogue().entries if entry.kind == kind and entry.plugin.builtin]


def build(*args: str | Path) -> dict[str, Any]:
    """The JSON document of a small model's ``scmrl build``."""
    done = invoke("build", *SMALL, "--device", "cpu", "--json", *args)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.slow
def test_with_nothing_else_given_it_says_what_it_built_and_leaves_a_run(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    done = fork_scmrl("build", "--fusion", "cmrl", "--neuron", "lif", "--device", "cpu", "--json", "-o", run)
    assert done.code == 0, done.err
    output = json.loads(done.out)
    model = scmrl_plugins.load(run)
    assert output["kinds"] == KINDS
    assert output["device"] == "cpu"
    assert output["output_shape"] == [2, 10]
    assert output["run"] == str(run)
    assert output["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad) > 50_000
    assert {p.name for p in run.iterdir()} == {
        "config.toml",
        "environment.json",
        "model.safetensors",
        "metrics.jsonl",
        "checkpoints",
    }
    config = tomllib.loads((run / "config.toml").read_text())
    assert {kind: config[kind]["name"] for kind in KINDS if kind != "loss"} == {
        kind: name for kind, name in KINDS.items() if kind != "loss"
    }
    assert [loss["name"] for loss in config["loss"]] == KINDS["loss"]
    assert (config["fusion"]["alpha"], config["train"]["seed"]) == (1.5, 42)  # defaults are written out
    assert config["train"]["lr"] > 0
    environment = json.loads((run / "environment.json").read_text())
    assert environment["seed"] == 42
    assert environment["packages"]["scmrl-plugins"] == scmrl_plugins.__version__
    assert environment["packages"]["torch"]
    assert "fusions" in [plugin["name"] for plugin in environment["plugins"]]
    assert (run / "metrics.jsonl").read_text() == ""
    assert list((run / "checkpoints").iterdir()) == []


def test_without_output_it_leaves_nothing(tmp_path: Path) -> None:
    output = build()
    assert output["run"] is None
    assert output["kinds"] == KINDS
    assert contents(tmp_path) == {}
    assert list((tmp_path / "work").iterdir()) == []


def test_the_table_for_people_says_the_same() -> None:
    done = invoke("build", *SMALL, "--device", "cpu", "--fusion", "late", "--readout", "concat")
    output = build("--fusion", "late", "--readout", "concat")
    assert done.code == 0
    assert "nothing crosses between the modalities in fusion 'late', by design" in done.out
    assert output["contribution"]["audio_from_visual"] == {"rate": 0, "dead": True, "partner_share": None}
    for word in ("late", "concat", "lif", "spikformer", f"{output['parameters']:,}", "[2, 10]", "cpu"):
        assert word in done.out
    for layer in output["firing_rates"]:
        assert layer in done.out


def test_an_empty_directory_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    build("-o", tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").is_file()


def test_a_directory_in_use_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    build("-o", run)
    before = contents(run)
    done = invoke("build", *SMALL, "--fusion", "late", "--device", "cpu", "--json", "-o", run)
    assert_refused(done, str(run), "-o")
    assert contents(run) == before


def test_what_cannot_be_trained_leaves_no_run(tmp_path: Path) -> None:
    done = invoke("build", *SMALL, "--device", "cpu", "--set", "train.optimizer=kron", "-o", tmp_path / "run")
    assert_refused(done, "train.optimizer = 'kron' cannot be used: ", "choose another, such as 'adamw'")
    assert contents(tmp_path) == {}


def test_a_runs_own_configuration_builds_the_same_model(tmp_path: Path) -> None:
    first = build("--fusion", "late", "--set", "train.seed=7", "-o", tmp_path / "a")
    done = invoke("build", "-c", tmp_path / "a" / "config.toml", "--device", "cpu", "--json", "-o", tmp_path / "b")
    assert {**json.loads(done.out), "run": None} == {**first, "run": None}
    a, b = (contents(tmp_path / name) for name in "ab")
    assert a["config.toml"] == b["config.toml"]
    assert a["model.safetensors"] == b["model.safetensors"]


def test_later_files_options_and_settings_win_in_that_order(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[fusion]\nname = "late"\n[model]\nsteps = 3\nembed_dims = 32\n')
    (tmp_path / "one.toml").write_text('extends = ["base.toml"]\n[model]\nsteps = 5\n')
    (tmp_path / "two.toml").write_text('[readout]\nname = "concat"\n')
    files = ["-c", str(tmp_path / "one.toml"), "-c", str(tmp_path / "two.toml")]
    small = ["--set", "model.num_heads=2", "--set", "model.image_size=8", "--device", "cpu", "--json"]
    output = json.loads(invoke("build", *files, "--readout", "add", *small, "-o", tmp_path / "run").out)
    assert (output["kinds"]["fusion"], output["kinds"]["readout"], output["steps"]) == ("late", "add", 5)
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["model"]["embed_dims"] == 32
    assert json.loads(invoke("build", *files, *small, "--set", "model.steps=2").out)["steps"] == 2


def fusions() -> list[str]:
    """One of each sort: with and without a joint stream or heads. The conformance kit builds models of all."""
    found: dict[tuple[bool, bool], str] = {}
    for name in built_in("fusion"):
        cls = catalogue().get("fusion", name).load()
        found.setdefault((bool(cls.joint), bool(cls.heads)), name)
    return list(found.values())


@pytest.mark.parametrize("readout", built_in("readout"))
@pytest.mark.parametrize("fusion", fusions())
def test_every_sort_of_fusion_builds_with_every_readout(fusion: str, readout: str) -> None:
    fuses, reads = (catalogue().get(*part).load() for part in (("fusion", fusion), ("readout", readout)))
    if (fuses.joint or fuses.heads) and not reads.further_heads:
        done = invoke("build", *SMALL, "--fusion", fusion, "--readout", readout)
        assert_refused(done, f"fusion {fusion!r}", f"readout {readout!r}")
        return
    output = build("--fusion", fusion, "--readout", readout)
    assert (output["kinds"]["fusion"], output["kinds"]["readout"]) == (fusion, readout)
    assert output["output_shape"] == [2, 10]


@pytest.mark.parametrize("name", ["alif", "PLIFNode"])
def test_a_neuron_of_ours_or_braincogs_is_in_every_layer(name: str) -> None:
    output = build("--fusion", "late", "--neuron", name)
    assert output["kinds"] == {**KINDS, "fusion": "late", "loss": ["ce"], "neuron": name}
    assert output["output_shape"] == [2, 10]
    layers = build("--fusion", "late")["firing_rates"]
    assert len(output["firing_rates"]) == len(layers)


def test_a_data_set_builds_a_model_without_its_files(tmp_path: Path) -> None:
    cls = catalogue().get("dataset", "urbansound8k-av").load()
    classes = cls(cls.Config(), ModelConfig()).classes
    assert build("--dataset", "urbansound8k-av")["output_shape"] == [2, len(classes)]
    assert contents(tmp_path) == {}


def test_a_qualified_name_builds_the_same() -> None:
    assert build("--fusion", "fusions:late")["parameters"] == build("--fusion", "late")["parameters"]


CHATTY = """
print("import of the plugin")
from scmrl_plugins import hookimpl

@hookimpl
def scmrl_register(register):
    print("hook")
    register("fusion", "chatty", "chatty_model:Chatty", "late fusion that talks")
"""
CHATTY_MODEL = """
print("import of the component")
from torch import nn
from scmrl_plugins.core.interfaces import ComponentConfig, Fused

class Chatty(nn.Module):
    class Config(ComponentConfig):
        pass

    def __init__(self, config, context):
        super().__init__()
        print("construction")

    def forward(self, audio, visual):
        print("forward")
        return Fused(audio, visual)
"""


def test_json_stays_one_document_whatever_a_plugin_prints(site: PluginSite) -> None:
    site.add("scmrl-chatty", {"chatty": "chatty"}, chatty=CHATTY, chatty_model=CHATTY_MODEL)
    done = invoke("plugins", "--json")
    assert "chatty" in [plugin["name"] for plugin in json.loads(done.out)["plugins"]]
    assert done.err.splitlines() == ["import of the plugin", "hook"]

    done = invoke("build", *SMALL, "--device", "cpu", "--fusion", "chatty", "--json")
    assert json.loads(done.out)["kinds"]["fusion"] == "chatty"
    lines = done.err.splitlines()
    assert lines[:2] == ["import of the component", "construction"]
    assert {*lines[2:]} == {"forward"}
