"""The notebooks among the examples run from their first cell to the last.

Their cells are plain Python, so they run as one script in a fork, which saves the start of a kernel for each.
Those that train on the digits train a smaller model on fewer of them, as the test of the README does.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, fork_script
from paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
PRINTS = {
    "first_run": "audio_alone",
    "own_data": "recall by class",
    "own_fusion": "95 % interval",
    "inside_a_network": "visual [2, 16]",
}
DIGITS = '"dataset": {"name": "av-digits", "images": 600},'


def smaller(code: str) -> str:
    """The cells with a smaller model on fewer digits."""
    sections: dict[str, dict[str, object]] = {"dataset": {"name": "av-digits"}, "model": {}}
    for key, value in {**SMALL_MODEL, **SMALL_DATA}.items():
        section, _, setting = key.partition(".")
        if section in sections:
            sections[section][setting] = value
    return code.replace(DIGITS, f"**{sections},")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, small_cache: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # what it prints is not committed
    script = tmp_path / "cells.py"
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    cells_text = "\n".join(["import matplotlib; matplotlib.use('Agg')", *code])
    assert (DIGITS in cells_text) == ("av-digits" in cells_text)
    script.write_text(smaller(cells_text), encoding="utf-8")
    done = fork_script(script, cwd=tmp_path, SCMRL_COMPILE="never", SCMRL_CACHE=str(small_cache))
    assert done.code == 0, done.err
    assert PRINTS[path.stem] in done.out
    assert ": failed" not in done.out
