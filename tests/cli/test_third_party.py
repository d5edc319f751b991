"""A stranger's fusion in this process, installed as a distribution; test_third_party_example.py trains one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import SMALL, assert_refused, invoke
from plugin_site import PluginSite

HOOK = """
from scmrl_plugins import hookimpl

@hookimpl
def scmrl_register(register):
    register("fusion", "gated", "scmrl_gated_model:GatedFusion", "sigmoid gate per channel")
"""
MODEL = """
from pydantic import Field
from torch import nn
from scmrl_plugins.core.interfaces import ComponentConfig, Fused

class GatedFusion(nn.Module):
    class Config(ComponentConfig):
        floor: float = Field(0.0, ge=0, le=1, description="smallest gate")

    def __init__(self, config, context):
        super().__init__()
        self.floor = config.floor
        self.gate = nn.Linear(context.embed_dims, context.embed_dims)

    def forward(self, audio, visual):
        gate = self.gate(visual.mean(3)).sigmoid().clamp_min(self.floor).unsqueeze(3)
        return Fused(audio * gate, visual * (2 - gate))
"""


@pytest.fixture
def gated(tmp_path: Path, site: PluginSite) -> PluginSite:
    site.add("scmrl-gated", {"gated": "scmrl_gated"}, scmrl_gated=HOOK, scmrl_gated_model=MODEL)
    return site


def test_it_builds_and_its_options_are_checked_like_ours(gated: PluginSite) -> None:
    build = ["build", *SMALL, "--device", "cpu", "--json", "--fusion"]
    assert json.loads(invoke(*build, "gated").out)["kinds"]["fusion"] == "gated"
    assert json.loads(invoke(*build, "gated:gated").out)["kinds"]["fusion"] == "gated:gated"
    assert_refused(invoke(*build, "gated", "--set", "fusion.flor=0.5"), "fusion.flor", "'floor'")
    assert_refused(invoke(*build, "gated", "--set", "fusion.floor=2.0"), "fusion.floor", "less than or equal to 1")
    assert_refused(invoke(*build, "gted"), "unknown fusion 'gted'", "'gated'")


def test_switched_off_it_is_unknown_and_the_message_explains(
    gated: PluginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCMRL_DISABLE_PLUGINS", "gated")
    done = invoke("plugins")
    assert "(off: SCMRL_DISABLE_PLUGINS)" in done.out
    assert "sigmoid gate" not in done.out
    refused = invoke("build", *SMALL, "--fusion", "gated", "--device", "cpu")
    assert_refused(refused, "unknown fusion 'gated'", "switched off by SCMRL_DISABLE_PLUGINS: gated")


def test_a_broken_one_is_listed_and_ours_still_work(site: PluginSite) -> None:
    site.add("scmrl-gated", {"gated": "scmrl_gated"}, scmrl_gated="import nonsense_that_is_not_there")
    done = invoke("plugins")
    assert done.code == 0
    broken = done.out.partition("broken:\n")[2].split()
    assert broken[:3] == ["gated", "scmrl-gated:", "ModuleNotFoundError:"]
    (gated,) = json.loads(invoke("plugins", "--json").out)["broken"]
    assert (gated["name"], gated["distribution"]) == ("gated", "scmrl-gated")
    assert "nonsense_that_is_not_there" in gated["error"]
    assert invoke("build", *SMALL, "--device", "cpu", "--json").code == 0
    assert_refused(invoke("build", "--fusion", "gated"), "unknown fusion 'gated'", "plugins with problems: gated")


def test_one_whose_component_cannot_be_loaded_is_one_line(site: PluginSite) -> None:
    site.add(
        "scmrl-gated", {"gated": "scmrl_gated"}, scmrl_gated=HOOK, scmrl_gated_model="import sys; sys.exit(3)"
    )
    done = invoke("build", *SMALL, "--fusion", "gated", "--device", "cpu")
    assert_refused(done, "fusion 'gated' of plugin 'gated' (scmrl-gated 1.0)", "SystemExit: 3", "--fusion"[2:])
