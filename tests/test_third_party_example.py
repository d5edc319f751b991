"""examples/third_party_fusion, from ``pip install`` until it is removed, as its user would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, assert_refused, fork_pytest, invoke, run_python, sets
from paths import ROOT
from plugin_site import PluginSite
from temporary_environment import BUILD_HERE

import scmrl_plugins
from scmrl_plugins.registry import catalogue

pytestmark = pytest.mark.slow

TRAIN = ["train", "--dataset", "av-digits", *sets({**SMALL_MODEL, **SMALL_DATA}), "--device", "cpu"]
IGNORED = shutil.ignore_patterns("*.egg-info", "build", "__pycache__")


def test_it_lives_and_goes(
    site: PluginSite, tmp_path: Path, small_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    source = shutil.copytree(ROOT / "examples" / "third_party_fusion", tmp_path / "source", ignore=IGNORED)
    refused = "unknown fusion 'gated'"
    assert_refused(invoke("build", "--fusion", "gated"), refused)

    pip = ["-m", "pip", "install", "-q", "--no-deps", "--target", str(site.folder), str(source)]
    assert run_python(*pip, **BUILD_HERE).code == 0
    catalogue.cache_clear()
    done = fork_pytest("-q", source, PYTHONPATH=str(site.folder))
    assert " passed" in done.out, done.out + done.err
    listed = json.loads(invoke("plugins", "--json", "--strict").out)
    assert listed["broken"] == []
    assert [c["name"] for c in listed["components"] if c["plugin"] == "gated"] == ["gated"]

    done = invoke(*TRAIN, "--fusion", "gated", "--set", "fusion.strength=2.0", "-o", "run")
    assert done.code == 0, done.err
    tested = json.loads(Path("run", "metrics.jsonl").read_text().splitlines()[-1])
    # A copy of the run elsewhere is the same model: what was saved is all that it takes.
    shutil.copytree("run", "copy")
    evaluated = json.loads(invoke("eval", "copy", "--device", "cpu", "--json").out)
    assert evaluated["confusion"] == tested["confusion"]
    assert scmrl_plugins.load("copy").fusion.strength == 2.0

    shutil.rmtree(site.folder)
    site.forget()
    catalogue.cache_clear()
    assert "gated" not in invoke("plugins").out
    assert_refused(invoke("eval", "run", "--device", "cpu"), refused, "pip install scmrl-gated")
