"""docs/plugins.md, followed: its commands and its code, in their order, in an environment of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, sets
from temporary_environment import TemporaryEnvironment

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
TUTORIAL = TEXT.partition("## A fusion block in ten minutes\n")[2].partition("\n## The hook\n")[0]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INSTALL = "pip install -e '.[demo,test]'"  # CI has done that, by the README's words


def test_it_ends_with_a_trained_fusion_of_ones_own(tmp_path: Path, small_cache: Path) -> None:
    environment = TemporaryEnvironment(tmp_path / "venv", SCMRL_CACHE=str(small_cache))
    done: list[str] = []
    for block in BLOCK.finditer(TUTORIAL):
        language, content = block.groups()
        if language == "python":
            # The file that was named last is the one it belongs into.
            file = re.findall(r"`([\w./-]+\.py)`", TUTORIAL[: block.start()])[-1]
            assert (tmp_path / file).exists()
            (tmp_path / file).write_text(content)
            continue
        for line in content.splitlines():
            if line == INSTALL:
                continue
            words = line.split()
            if words[1] == "train":  # the same command, with a smaller model on fewer digits
                words += sets({**SMALL_MODEL, **SMALL_DATA})
            if words[0] == "pytest":
                words += ["-k", "not compiles"]  # which takes longest, and which ``scmrl check`` has just checked
            if words[0] == "pytest" or words[1] in ("plugins", "check", "train", "eval"):
                environment.fork(*words, cwd=tmp_path)
            else:
                environment.run(line, tmp_path)
            done.append(line.split()[1] if line.startswith("scmrl") else line.split()[0])
    assert done == ["new-plugin", "pip", "plugins", "check", "pytest", "train", "eval", "pip"]
    assert 'name = "louder"' in (tmp_path / "runs" / "louder" / "config.toml").read_text()
    assert list((tmp_path / "dist").glob("scmrl_louder-*.whl"))
