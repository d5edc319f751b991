"""``scmrl profile``: what a run costs on a split, and the networks without spikes that it is compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import TINY, assert_refused, invoke, sets


@pytest.fixture(scope="module")
def twin(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ANN of the same architecture; its weights do not matter here."""
    run = tmp_path_factory.mktemp("twin") / "ann"
    threshold = TINY.index("neuron.threshold=0.3")
    tiny = [*TINY[: threshold - 1], *TINY[threshold + 1 :]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCMRL_CACHE", str(small_cache))
        done = invoke("build", *tiny, "--neuron", "relu", *sets({"model.steps": 1}), "--device", "cpu", "-o", run)
    assert done.code == 0, done.err
    return run


@pytest.mark.slow
def test_the_document_adds_up_and_is_the_same_for_any_batch_size(
    trained: Path, twin: Path, tmp_path: Path
) -> None:
    done = invoke("profile", trained, "--against", twin, "--device", "cpu", "--json", "-o", tmp_path / "p.json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert json.loads((tmp_path / "p.json").read_text()) == found
    for name in ("parameters", "footprint", "dense", "effective", "macs", "acs", "membrane_updates", "attention"):
        assert found["total"][name] == sum(layer[name] for layer in found["layers"]), name
    for model, joules in found["energy"].items():
        assert joules == sum(layer["energy"][model] for layer in found["layers"])
    assert found["total"]["membrane_updates"] == found["total"]["activations"]
    [ann] = found["against"]
    assert (ann["kind"], ann["steps"], ann["total"]["membrane_updates"]) == ("ann", 1, 0)
    assert [bound["kind"] for bound in found["bounds"]] == ["qnn"]  # the ANN is measured
    assert {"arithmetic", "arithmetic_int8", "lemaire", "threshold"} == found["verdicts"].keys()
    assert ann["energy"]["arithmetic"] == pytest.approx(
        4.6e-12 * ann["total"]["macs"] + 0.9e-12 * ann["total"]["acs"]
    )
    evaluated = json.loads(invoke("eval", trained, "--device", "cpu", "--json").out)
    assert (found["n"], found["accuracy"]) == (evaluated["n"], pytest.approx(evaluated["accuracy"]))


@pytest.mark.slow
def test_the_table_has_the_layers_the_total_and_a_line_for_each_model(trained: Path) -> None:
    done = invoke("profile", trained, "--device", "cpu", "--split", "validation", "--batch-size", 7)
    assert done.code == 0, done.err
    words = ("validation split", "readout.head", "total", "not measured", "arithmetic: the", "threshold: the")
    assert [word for word in words if word not in done.out] == []


def test_what_cannot_be_compared_is_refused(trained: Path, tmp_path: Path) -> None:
    assert_refused(invoke("profile", tmp_path), "no run there")
    assert_refused(invoke("profile", trained, "--against", tmp_path), "no run there")
    assert_refused(invoke("profile", trained, "--batch-size", "0"), "--batch-size")
    assert_refused(invoke("profile", trained, "-o", tmp_path), "-o")
