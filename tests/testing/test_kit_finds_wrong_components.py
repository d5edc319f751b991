"""Every check of the conformance kit fails for a component that is wrong in just that way, and says how."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plugin_site import GOOD, GOOD_MODEL, PluginSite
from torch import Tensor
from wrong import ALSO_RIGHT, RIGHT
from wrong.backbone import NeedsValues
from wrong.loss import Loss
from wrong.register import WRONG, Wrong, subject_of

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import Catalogue, UserError
from scmrl_plugins.testing import CHECKS, Result, Subject, modules, run_checks, saving, subjects

ON_REQUEST = ("check_compiles", "check_saved_and_loaded", "check_renamed_plugin_is_explained")
"""These take long, and are made of the components that must fail them, and of the right ones."""

PRINTS = "print('hello')\n" + GOOD
IMPORTS = "import torch\n" + GOOD
EXITS = "import os, sys\nif 'torch' not in sys.modules:\n    os._exit(7)\n" + GOOD
NOT_THERE = GOOD.replace("Thing", "Thin")
ON_DISK = [
    ("check_registers_without_problems", PRINTS, "prints when it registers: 'hello'"),
    ("check_registers_without_problems", NOT_THERE, "has no 'Thin'"),
    ("check_registration_imports_no_torch", IMPORTS, "registering imports torch: register the target as a string"),
    ("check_registration_imports_no_torch", EXITS, "registering in a new process fails"),
]
"""A check of registration, the source of a plugin's module, and what the check says of it."""


def failures(results: list[Result]) -> dict[str, str]:
    return {result.check: result.reason for result in results if result.outcome == "failed"}


def run(subject: Subject, monkeypatch: pytest.MonkeyPatch, wanted: frozenset[str] = frozenset()) -> list[Result]:
    """The results of all checks but those on request that are not wanted."""
    for name in set(ON_REQUEST) - wanted:
        monkeypatch.delitem(CHECKS, name)
    return list(run_checks(subject))


def test_every_check_has_a_wrong_component() -> None:
    covered = {name for wrong in WRONG for name in wrong.says} | {name for name, *_ in ON_DISK}
    assert covered == CHECKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cls"), RIGHT.items(), ids=RIGHT)
def test_a_right_component_passes_every_check(kind: str, cls: type) -> None:
    results = list(run_checks(subject_of(kind, cls)))
    assert [(r.check, r.outcome, r.reason) for r in results if r.outcome != "passed"] == []
    of_kind = [name for name, check in CHECKS.items() if kind in check.kinds and not check.only]
    assert [r.check for r in results] == of_kind


@pytest.mark.parametrize(("kind", "cls"), ALSO_RIGHT, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_allowed_is_no_failure(kind: str, cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failures(run(subject_of(kind, cls), monkeypatch)) == {}


def quick_first() -> list[Any]:
    """The wrong components; those of a kind that has had one are for slow runs."""
    seen: set[str] = set()
    marked = []
    for wrong in WRONG:
        marks = [pytest.mark.slow] if wrong.kind in seen else []
        seen.add(wrong.kind)
        marked.append(pytest.param(wrong, id=wrong.cls.__name__, marks=marks))
    return marked


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("wrong", quick_first())
def test_a_wrong_component_fails_for_what_is_wrong(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    found = failures(run(subject_of(wrong.kind, wrong.cls), monkeypatch, frozenset(wrong.says)))
    assert not wrong.says.keys() - found.keys(), "a check lets it pass"
    for name, words in wrong.says.items():
        assert words in found[name]
    if not wrong.others:
        assert found.keys() == wrong.says.keys(), found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "source", "words"), ON_DISK)
def test_a_plugin_that_registers_badly_is_reported(name: str, source: str, words: str, site: PluginSite) -> None:
    module = source.format(name="bad", module="scmrl_bad")
    site.add("scmrl-bad", {"bad": "scmrl_bad"}, scmrl_bad=module, scmrl_bad_model=GOOD_MODEL)
    (subject,) = subjects(package="scmrl-bad")
    for other in ("check_registers_without_problems", "check_registration_imports_no_torch"):
        if other != name:
            CHECKS[other](subject)
        else:
            with pytest.raises(AssertionError) as caught:
                CHECKS[other](subject)
            assert words in str(caught.value)


def test_a_component_whose_path_depends_on_values_takes_an_accelerator() -> None:
    (result,) = [
        result
        for result in run_checks(subject_of("backbone", NeedsValues))
        if result.check == "check_moves_to_another_device"
    ]
    assert result.outcome == "passed" or "takes a real accelerator" in result.reason


@torch.compiler.disable
def not_compiled() -> None:
    pass


def scaled(x: Tensor, factor: str) -> Tensor:
    return x * float(factor)


class ScaledInSteps(Loss):
    """Compiled once for each factor: at a graph break in its loop dynamo leaves the loop to Python."""

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        for factor in ("1", "2", "3"):
            not_compiled()
            loss = scaled(loss, factor)
        return loss


@pytest.mark.slow
def test_what_dynamo_gives_up_compiling_is_not_taken_for_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of("loss", ScaledInSteps)
    CHECKS["check_compiles"](subject)
    monkeypatch.setattr(modules, "RECOMPILATIONS", 2)
    with pytest.raises(AssertionError, match="RecompileLimitHit"):
        CHECKS["check_compiles"](subject)


def unknown(found: Catalogue, kind: str, name: str) -> str:
    return f"unknown {kind} {name!r}"


def refuse(model: AudioVisualModel, given: object) -> int:
    raise UserError("something is missing")


def answer(model: AudioVisualModel, audio: Tensor, visual: Tensor) -> ModelOutput:
    return ModelOutput(torch.zeros(()))


def open_anything(path: Path) -> SimpleNamespace:
    return SimpleNamespace(load_model=lambda: None)


@pytest.mark.parametrize(
    ("name", "kind", "place", "function", "words"),
    [
        (
            "check_renamed_plugin_is_explained",
            "loss",
            (Catalogue, "_unknown"),
            unknown,
            "does not give both names",
        ),
        ("check_renamed_plugin_is_explained", "loss", (saving, "open_run"), open_anything, "no longer installed"),
        ("check_missing_modality", "fusion", (AudioVisualModel, "_check"), refuse, "does not name it"),
        ("check_missing_modality", "fusion", (AudioVisualModel, "forward"), answer, "runs without audio"),
    ],
)
def test_what_the_framework_does_for_a_component_is_checked(
    name: str,
    kind: str,
    place: tuple[object, str],
    function: object,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(*place, function)
    with pytest.raises(AssertionError, match=words):
        CHECKS[name](subject_of(kind, RIGHT[kind]))
