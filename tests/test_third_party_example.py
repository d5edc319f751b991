"""examples/third_party_fusion, from ``pip install`` to ``pip uninstall``, as its user would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from temporary_environment import TemporaryEnvironment

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "third_party_fusion"
SMALL = (
    "--dataset av-digits --set dataset.images=100 --set model.embed_dims=16 --set model.num_heads=2"
    " --set model.steps=2 --set train.epochs=1 --set neuron.threshold=0.3 --device cpu"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, small_cache: Path) -> TemporaryEnvironment:
    return TemporaryEnvironment(tmp_path_factory.mktemp("venv"), SCMRL_CACHE=str(small_cache))


def test_it_lives_and_goes(environment: TemporaryEnvironment, tmp_path: Path) -> None:
    source = tmp_path / "third_party_fusion"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))

    def run(line: str, code: int = 0) -> str:
        return environment.run(line, tmp_path, code)

    def fork(line: str, code: int = 0) -> str:
        return environment.fork(*line.split(), cwd=tmp_path, code=code)

    assert "unknown fusion 'gated'" in fork("scmrl build --fusion gated", code=2)

    run(f"pip install --no-deps {source}")
    listed = json.loads(run("scmrl plugins --json --strict"))
    assert listed["broken"] == []
    assert [c["name"] for c in listed["components"] if c["plugin"] == "gated"] == ["gated"]
    assert json.loads(fork("scmrl build --fusion gated --json"))["kinds"]["fusion"] == "gated"
    assert " passed" in fork(f"pytest -q {source}")

    fork(f"scmrl train {SMALL} --fusion gated --set fusion.strength=2.0 -o run")
    before = json.loads(fork("scmrl eval run --device cpu --json"))
    # A copy of the run elsewhere is the same model: what was saved is all that it takes.
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert json.loads(fork("scmrl eval copy --device cpu --json")) == before
    loaded = "import scmrl_plugins; print(scmrl_plugins.load('copy').fusion.strength)"
    assert environment.fork("python", loaded, cwd=tmp_path) == "2.0\n"

    run("pip uninstall -y scmrl-gated")
    assert "gated" not in fork("scmrl plugins")
    message = fork("scmrl eval run", code=2)
    assert message.startswith("Error: unknown fusion 'gated'")
    assert "pip install scmrl-gated" in message
    assert len(message.splitlines()) == 1
