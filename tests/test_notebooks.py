"""The notebooks among the examples run from their first cell to the last.

Their cells are plain Python, so they run as one script in a fork, which saves the start of a kernel for each.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import fork_script
from paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
PRINTS = {
    "first_run": "audio_alone",
    "own_data": "recall by class",
    "own_fusion": "95 % interval",
    "inside_a_network": "visual [2, 16]",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # what it prints is not committed
    script = tmp_path / "cells.py"
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script.write_text("\n".join(["import matplotlib; matplotlib.use('Agg')", *code]), encoding="utf-8")
    done = fork_script(script, cwd=tmp_path, SCMRL_COMPILE="never")
    assert done.code == 0, done.err
    assert PRINTS[path.stem] in done.out
    assert ": failed" not in done.out
