"""The examples and grids of the project by their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

import scmrl_plugins
from scmrl_plugins.core.config import examples
from scmrl_plugins.core.config.layers import compose, read_file
from scmrl_plugins.registry import UserError


def test_every_file_has_a_name_and_a_summary() -> None:
    listed = examples.listed()
    files = {*ROOT.glob("examples/**/*.toml"), *ROOT.glob("benchmarks/grids/*.toml")}
    assert {*listed.values()} == {path for path in files if path.name != "pyproject.toml"}
    assert listed["fusion/late"] == ROOT / "examples" / "fusion" / "late.toml"
    for name, path in listed.items():
        text = examples.summary(path)
        assert text, name
        assert "\n" not in text


def test_a_name_stands_for_its_file_wherever_one_is_read(tmp_path: Path) -> None:
    small = ROOT / "examples" / "small_cpu.toml"
    assert compose(["scmrl:small_cpu"]) == compose([small]) != compose()
    extending = tmp_path / "mine.toml"
    extending.write_text('extends = ["scmrl:small_cpu", "scmrl:fusion/late"]\n')
    assert compose([extending]) == compose([small, ROOT / "examples" / "fusion" / "late.toml"])
    assert read_file("scmrl:grids/digits")[0].data["grid"]["folds"] == [0, 1, 2, 3, 4]
    assert scmrl_plugins.build("scmrl:small_cpu").config.model.embed_dims == compose([small]).model.embed_dims


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^scmrl:smal_cpu: no such example \(did you mean 'small_cpu'"):
        compose(["scmrl:smal_cpu"])
    with pytest.raises(UserError, match=r"^scmrl:: no such example; scmrl examples lists them$"):
        compose(["scmrl:"])


@pytest.mark.slow
def test_an_installed_package_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / "lib"
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(built)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    before = examples.listed()
    monkeypatch.setattr(examples, "PACKAGE", built / "scmrl_plugins")
    assert examples.listed().keys() == before.keys()
    installed = compose(["scmrl:published/crema_d"])
    assert installed.model_dump() == compose([before["published/crema_d"]]).model_dump()
