"""Grids: what a file says, what is trained once, what goes on, and what the figures are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from scmrl_plugins.bench.accuracy import grid, report
from scmrl_plugins.core.measure import energy, operations
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError

CPU = torch.device("cpu")
FILE = """
[dataset]
name = "blobs"

[train]
epochs = 2

[grid]
seeds = [3, 4]

[[method]]
name = "late"
fusion.name = "late"

[[method]]
name = "spatial"
fusion = { name = "cmrl", attention = "spatial" }
neuron.threshold = 0.25

[[condition]]
name = "noisy"
noise = { audio = -20 }

[[condition]]
name = "nothing"
dropped = ["audio", "visual"]
"""


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def run(path: Path, out: Path) -> list[dict]:
    return grid.run_grid(grid.read_grid(path), out, CPU, Progress())


def test_cells_are_every_method_under_every_seed(tmp_path: Path) -> None:
    cells = list(grid.read_grid(write(tmp_path)).cells())
    assert [cell.name for cell in cells] == ["late-3", "spatial-3", "late-4", "spatial-4"]
    assert [cell.config.train.seed for cell in cells] == [3, 3, 4, 4]
    assert cells[1].config.fusion.options == {"attention": "spatial"}
    assert cells[1].config.neuron.options["threshold"] == 0.25
    assert cells[0].config.neuron.options["threshold"] == 0.3  # what the data set recommends
    assert all(cell.config.train.epochs == 2 for cell in cells)


def test_a_base_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(FILE)
    text = 'extends = ["base.toml"]\n[grid]\nseeds = [1]\n[[method]]\nname = "add"\n'
    cells = list(grid.read_grid(write(tmp_path, text)).cells())
    assert [cell.name for cell in cells] == ["add-1"]
    assert cells[0].config.dataset.name == "blobs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no \[\[method\]\] to compare"),
        ("[method]\nname = 'a'", r"method must be a list of tables"),
        ("[[method]]\nfusion.name = 'late'", "method 1.name: input should be a valid string"),
        ("[[method]]\nname = 'a/b'", "method 1.name"),
        ("[[method]]\nname = 'a'\n[[method]]\nname = 'a'", "two methods are called 'a'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'clean'", "two conditions are called 'clean'"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnose = 1", "condition 1.nose: unknown key"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nnoise = {audi = 1}", "condition 1.noise.audi"),
        ("[[method]]\nname = 'a'\n[[condition]]\nname = 'x'\nocclusion = {visual = 2.0}", "occlusion"),
        ("[grid]\nseed = [1]\n[[method]]\nname = 'a'", "grid.seed: unknown key .did you mean 'seeds'"),
        ("[grid]\nseeds = []\n[[method]]\nname = 'a'", "grid.seeds"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        grid.read_grid(write(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_a_methods_bad_setting_names_the_method(tmp_path: Path) -> None:
    path = write(tmp_path, FILE.replace("fusion.name", "fuson.name"))
    with pytest.raises(UserError, match=r"fuson: unknown key .*method late"):
        list(grid.read_grid(path).cells())


def test_results_are_those_of_the_runs(tmp_path: Path) -> None:
    results = run(write(tmp_path), tmp_path / "out")
    assert [(r["method"], r["seed"]) for r in results] == [
        ("late", 3),
        ("spatial", 3),
        ("late", 4),
        ("spatial", 4),
    ]
    for result in results:
        lines = (tmp_path / "out" / "runs" / f"{result['method']}-{result['seed']}" / "metrics.jsonl").read_text()
        tested = json.loads(lines.splitlines()[-1])
        clean = result["conditions"]["clean"]
        assert (clean["accuracy"], clean["loss"]) == (tested["accuracy"], tested["loss"])
        assert result["conditions"]["nothing"]["accuracy"] == pytest.approx(1 / 3)  # one answer for all
        assert result["protocol"] == "honest"
        assert len(result["epochs"]) == 2
        assert result["energy_joules"] > 0

    summary = report.summarize(results)
    late = summary["methods"]["late"]["conditions"]["clean"]
    assert late["values"] == [
        results[0]["conditions"]["clean"]["accuracy"],
        results[2]["conditions"]["clean"]["accuracy"],
    ]
    assert late["mean"] == pytest.approx(sum(late["values"]) / 2)
    assert late["std"] == pytest.approx(abs(late["values"][0] - late["values"][1]) / 2**0.5)

    report.write(summary, tmp_path / "out", "the command")
    table = (tmp_path / "out" / "results.md").read_text()
    assert "| method | clean | noisy | nothing |" in table
    assert f"| late | {100 * late['mean']:.1f} ± {100 * late['std']:.1f} |" in table
    assert "honest" in table
    assert "the command" in table
    assert json.loads((tmp_path / "out" / "results.json").read_text())["methods"].keys() == {"late", "spatial"}
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write(tmp_path), tmp_path / "out"
    first = run(path, out)
    monkeypatch.setattr(Training, "fit", lambda *_: pytest.fail("trained again"))
    assert run(path, out) == first


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the first epoch of the second cell, and in the making of the third: the same figures."""
    path = write(tmp_path)
    whole = run(path, tmp_path / "whole")
    save, count = Training._save, 0

    def stop(training: Training, *args: object) -> None:
        nonlocal count
        save(training, *args)  # type: ignore[arg-type]
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "out" / "runs" / "late-4" / "checkpoints").mkdir(parents=True)  # as a kill leaves it
    before = (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns
    from blob_data import ENTRY

    from scmrl_plugins.registry import catalogue

    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, ENTRY])
    again = run(path, tmp_path / "out")
    assert (tmp_path / "out" / "cells" / "late-3.json").stat().st_mtime_ns == before
    for one, other in zip(whole, again, strict=True):
        assert one["conditions"] == other["conditions"]
        assert (one["firing_rate"], one["energy_joules"]) == (other["firing_rate"], other["energy_joules"])


def test_another_configuration_in_the_same_place_is_refused(tmp_path: Path) -> None:
    run(write(tmp_path, FILE.replace("seeds = [3, 4]", "seeds = [3]")), tmp_path / "out")
    changed = write(tmp_path, FILE.replace("epochs = 2", "epochs = 1").replace("[3, 4]", "[3]"))
    with pytest.raises(UserError, match=r"late-3.json: made with another configuration; .* -o"):
        run(changed, tmp_path / "out")
    (tmp_path / "out" / "cells" / "late-3.json").unlink()
    with pytest.raises(UserError, match=r"runs/late-3: made with another configuration; .* -o"):
        run(changed, tmp_path / "out")


def test_a_new_condition_tests_the_runs_that_are_there(tmp_path: Path) -> None:
    text = FILE.replace("seeds = [3, 4]", "seeds = [3]")
    (late, _) = run(write(tmp_path, text), tmp_path / "out")
    more = text + '\n[[condition]]\nname = "hidden"\nocclusion = { visual = 0.5 }\n'
    (again, _) = run(write(tmp_path, more), tmp_path / "out")
    assert again["epochs"] == late["epochs"]
    assert again["conditions"].keys() == {"clean", "noisy", "nothing", "hidden"}
    assert again["conditions"]["noisy"] == late["conditions"]["noisy"]


def test_a_damaged_result_is_one_line(tmp_path: Path) -> None:
    text = FILE.replace("seeds = [3, 4]", "seeds = [3]")
    run(write(tmp_path, text), tmp_path / "out")
    (tmp_path / "out" / "cells" / "late-3.json").write_text("{")
    with pytest.raises(UserError, match="not a result"):
        run(tmp_path / "grid.toml", tmp_path / "out")


def test_energy_counts_spikes_and_products_by_hand(small) -> None:
    """One convolution a modality sees the image; all others see spikes, each costing what it adds."""
    model = small(fusion={"name": "late"}).model.eval()
    images = operations.random_inputs(model, CPU, batch=3)
    spikes: list[float] = []

    def count(module: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        fan_out = module.weight[:, 0].numel() if module.weight.dim() > 2 else module.weight.shape[0]
        if isinstance(module, torch.nn.Conv2d):
            x = given[0]
            places = x.shape[-1] * x.shape[-2]
            spikes.append(x.sum().item() / x.numel() * places * x.shape[1] * fan_out * len(x) / 3)
        else:
            spikes.append(given[0].sum().item() * fan_out / 3)

    first = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv1d) and not name.endswith("stages.0.conv"):
            module.register_forward_pre_hook(count)
        elif name.endswith("stages.0.conv"):
            first.append(module)
    spent = energy.estimate(model, images)
    size, steps = model.config.model.image_size, model.config.model.steps
    analogue = sum(conv.weight.numel() * size * size for conv in first)  # of the image, once for all steps
    head = model.readout.head.weight.numel() * steps  # sees means, which are no whole numbers
    assert spent.multiply_accumulates == pytest.approx(analogue + head)
    assert spent.accumulates == pytest.approx(sum(spikes), rel=1e-6)
    assert sum(spikes) > 0
    assert spent.joules == pytest.approx(4.6e-12 * spent.multiply_accumulates + 0.9e-12 * spent.accumulates)
