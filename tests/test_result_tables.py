"""Tables of benchmark results in documents, which docs/generate.py makes from benchmarks/results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
TESTED = {"accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6}, "metrics": {}, "versus": {}, "contribution": {}}
METHOD = {"cells": ["0", "1"], "conditions": {"clean": TESTED, "noisy": TESTED}, "costs": None}
HALF = {**METHOD, "cells": ["0"]}
TASK = {"methods": {"late": METHOD, "cmrl": METHOD, "sca": HALF}, "conditions": {"clean": {}, "noisy": {}}}
COMMENT = "<!-- table: digits/same accuracy; methods: cmrl; conditions: noisy -->"
DOCUMENT = f"Before.\n\n{COMMENT}\n<!-- end of table -->\nAfter.\n"
MADE = "-->\n\n| method | noisy |\n|---|---:|\n| cmrl | 50.0 ± 10.0 |\n\n<!-- end of table -->\nAfter.\n"


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for a project of one document with results of one task."""
    monkeypatch.setenv("SCMRL_DISABLE_PLUGINS", "all")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path / "docs")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    for page in ("cli_page", "components_page", "plugins_page", "readme"):
        monkeypatch.setattr(module, page, lambda: "")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(DOCUMENT)
    (tmp_path / "results" / "digits").mkdir(parents=True)
    (tmp_path / "results" / "digits" / "results.json").write_text(json.dumps({"tasks": {"same": TASK}}))
    return module


def test_a_table_is_made_from_the_results_and_a_stale_one_is_found(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, results = tmp_path / "docs" / "page.md", tmp_path / "results" / "digits" / "results.json"
    assert generate.run(True) == 1
    assert page.read_text() == DOCUMENT
    assert generate.run(False) == 0
    assert page.read_text().startswith("Before.\n\n<!-- table: digits/same")
    assert page.read_text().endswith(MADE)
    capsys.readouterr()
    assert generate.run(True) == 0
    results.write_text(results.read_text().replace("0.5", "0.51"))
    assert generate.run(True) == 1
    assert capsys.readouterr().err == "docs/page.md is out of date: run python docs/generate.py\n"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("digit/same accuracy", "there are no results 'digit' in benchmarks/results"),
        ("digits/some accuracy", "there is no task 'some' (did you mean 'same'?)"),
        ("digits/same acuracy", "there is no table or metric 'acuracy' (did you mean 'accuracy'?)"),
        ("digits/same", "there is no table or metric ''"),
        ("digits/same accuracy; methods: lat", "there is no method 'lat' (did you mean 'late'?)"),
        ("digits/same accuracy; conditions: noise", "there is no condition 'noise' (did you mean 'noisy'?)"),
        ("digits/same accuracy; method: late", "there is no list 'method' (did you mean 'methods'?)"),
        ("digits accuracy; methods: late; tasks: sum", "there is no task 'sum'"),
        ("digits accuracy; methods: lat; tasks: same", "there is no method 'lat' (did you mean 'late'?)"),
        ("digits worst; methods: late; tasks: same", "without a task there is only accuracy"),
        ("digits/same versus", "write a METHOD after versus"),
        ("digits/same versus late", "the results have no such figures"),
    ],
)
def test_a_table_that_cannot_be_made_is_one_line(generate: ModuleType, asked: str, message: str) -> None:
    text = f"<!-- table: {asked} -->\n<!-- end of table -->\n"
    with pytest.raises(SystemExit) as caught:
        generate.with_results(text, "page.md")
    assert str(caught.value).startswith(f"page.md: table: {asked}: {message}")
    assert "\n" not in str(caught.value)


def test_methods_by_tasks(generate: ModuleType) -> None:
    lines = generate.result_table("digits accuracy; methods: late, sca; tasks: same")
    assert lines[2:] == ["| late | 50.0 ± 10.0 |", "| sca |  |"]  # of fewer folds than the other
