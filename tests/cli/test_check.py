"""``scmrl check``: what conforms, what does not, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bad_plugins import FUSION, hook
from cli_runs import assert_refused, invoke
from plugin_site import PluginSite


@pytest.fixture
def forgetful(site: PluginSite) -> PluginSite:
    """A good fusion beside one that drops the sound."""
    site.add("scmrl-two", {"two": "scmrl_two"}, scmrl_two=hook(
        'register("fusion", "deaf", "scmrl_two_model:Deaf", "no sound")',
        name="fine", target="scmrl_two_model:Fusion",
    ), scmrl_two_model=FUSION + """
class Deaf(Fusion):
    def forward(self, audio, visual):
        return Fused(audio * 0, visual)
""")  # fmt: skip
    return site


@pytest.mark.slow
def test_one_that_conforms(forgetful: PluginSite) -> None:
    done = invoke("check", "fine")
    assert done.code == 0
    assert "fusion 'fine' of plugin 'two' (scmrl-two 1.0): 23 of 23 checks passed" in done.out
    assert done.out.splitlines()[-1] == "23 passed, 0 failed, 0 skipped"


@pytest.mark.slow
def test_one_that_does_not(forgetful: PluginSite) -> None:
    done = invoke("check", "--package", "scmrl-two")
    assert done.code == 1
    assert "  failed check_modalities_get_gradients: the gradient of audio is zero everywhere" in done.out
    assert done.out.splitlines()[-1] == "45 passed, 1 failed, 0 skipped"


@pytest.mark.slow
def test_json_names_component_check_and_reason(forgetful: PluginSite) -> None:
    done = invoke("check", "two:deaf", "--json")
    assert done.code == 1
    output = json.loads(done.out)
    assert (output["passed"], output["failed"], output["skipped"]) == (22, 1, 0)
    (failed,) = [check for check in output["checks"] if check["outcome"] == "failed"]
    assert failed == {
        "kind": "fusion",
        "component": "deaf",
        "plugin": "two",
        "check": "check_modalities_get_gradients",
        "outcome": "failed",
        "reason": "the gradient of audio is zero everywhere",
    }


@pytest.mark.slow
def test_another_compiler_can_be_selected() -> None:
    done = invoke("check", "late", "--compiler", "no-such-backend", "--json")
    (failed,) = [check for check in json.loads(done.out)["checks"] if check["outcome"] == "failed"]
    assert failed["check"] == "check_compiles"
    assert "no-such-backend" in failed["reason"]


def test_what_cannot_be_checked_is_one_line(forgetful: PluginSite, tmp_path: Path) -> None:
    assert_refused(invoke("check"), "nothing to check", "--package")
    assert_refused(invoke("check", "fin"), "no component 'fin'", "did you mean 'fine'")
    assert_refused(invoke("check", "--package", "scmrl-too"), "'scmrl-too'", "did you mean 'scmrl-two'")
    forgetful.add("scmrl-bad", {"bad": "scmrl_bad"}, scmrl_bad="1 / 0")
