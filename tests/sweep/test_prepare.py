from __future__ import annotations

from pathlib import Path

import pytest
from sweep_files import claim, read

from scmrl_plugins.registry import UserError


def test_every_trial_is_assembled_before_the_first_is_trained(tmp_path: Path) -> None:
    text = '[dataset]\nname = "blobs"\n[space]\nfusion.name = ["late", "cmrl"]\nfusion.gate = [1.0]\n'
    with pytest.raises(
        UserError, match=r"trial-001 \(fusion.name = late, fusion.gate = 1.0\): fusion.gate: unknown"
    ):
        claim(read(tmp_path, text), tmp_path / "out")
    assert not (tmp_path / "out").exists()
