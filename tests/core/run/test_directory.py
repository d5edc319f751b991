"""Run directories: what they hold from the start, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainings import fit

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.run.directory import Run, create_run, next_directory, open_run
from scmrl_plugins.core.system import files
from scmrl_plugins.explain import report
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.catalogue import INLINE

Small = Callable[..., Assembly]


def test_a_run_begins_with_its_configuration_and_environment(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.seed=7"])
    run = create_run(tmp_path / "run", parts)
    described = json.loads((run.path / "environment.json").read_text())
    assert described["seed"] == 7
    assert described["packages"].keys() == set(environment.PACKAGES)
    assert described["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {plugin["name"] for plugin in described["plugins"]} == {plugin.name for plugin in catalogue().plugins}
    assert described["python"]
    assert "git_commit" in described
    assert run.assemble().config.model_dump() == parts.config.model_dump()
    assert run.metrics() == []
    with pytest.raises(UserError, match="not trained to the end yet"):
        report.write(run)
    loaded = open_run(run.path).load_model()
    assert all(torch.equal(t, parts.model.state_dict()[name]) for name, t in loaded.state_dict().items())


def test_a_directory_in_use_is_left_alone(small: Small, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="already exists"):
            create_run(path, small())
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["mine.txt"]
    with pytest.raises(UserError, match="no run there"):
        open_run(tmp_path)
    (tmp_path / "run-001").mkdir()
    assert next_directory(tmp_path, "run") == tmp_path / "run-002"


def test_a_changed_run_is_refused(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    text = run.config_file.read_text()
    files.write_text(run.config_file, text.replace("embed_dims = 8", "embed_dims = 16"))
    with pytest.raises(UserError, match=r"was config\.toml changed"):
        run.load_model()
    files.write_text(run.config_file, text)
    run.metrics_file.write_text("{half a li\n")
    with pytest.raises(UserError, match="not JSON"):
        fit(run)


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        '{"epoch": "1"}',
        '{"epoch": null}',
        '{"epoch": -1}',
        '{"epoch": 1.5}',
        '{"of_epoch": 1}',
    ],
)
def test_a_line_of_metrics_that_no_training_writes_is_named(tmp_path: Path, line: str) -> None:
    run = Run(tmp_path)
    run.metrics_file.write_text(f'{{"epoch": 1}}\n{line}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is not one that training writes; restore"):
        run.metrics()


def test_weights_from_a_pipe_are_refused(small: Small, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", small())
    run.weights_file.unlink()
    os.mkfifo(run.weights_file)
    with pytest.raises(UserError, match=r"model\.safetensors: not a regular file"):
        run.load_model()


def test_missing_plugins_are_named_by_distribution(small: Small, tmp_path: Path) -> None:
    """A plugin that its package renamed is not missing; a package or a file that is not there is, once."""
    parts = small()
    run = create_run(tmp_path / "run", parts)
    text = run.config_file.read_text()
    files.write_text(run.config_file, text.replace('name = "late"', 'name = "gone"').replace('"cmrl"', '"gone"'))
    described = json.loads((run.path / "environment.json").read_text())
    ours = {"distribution": "scmrl-plugins", "version": "0.1.0"}
    renamed = [{"name": "transformer", **ours}, {"name": "alignment", **ours}]
    theirs = [{"name": name, "distribution": "scmrl-gone", "version": "1"} for name in ("one", "two")]
    mine = {"name": "mine", "distribution": INLINE, "version": "", "file": "mine.py"}
    for recorded, ending in (
        (renamed, None),
        (
            [*renamed, *theirs, mine],
            "; the run used plugins that are not installed: pip install scmrl-gone, --plugin mine.py",
        ),
    ):
        files.write_json(run.path / "environment.json", described | {"plugins": recorded})
        with pytest.raises(UserError, match="gone") as caught:
            run.assemble()
        if ending:
            assert str(caught.value).endswith(ending)
        else:
            assert "not installed" not in str(caught.value)
