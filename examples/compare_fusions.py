"""Train several methods on one data set and compare them, clean and under noise at test time.

    python examples/compare_fusions.py                          # the embedded digits, minutes
    python examples/compare_fusions.py -c examples/spoken_digits.toml --set dataset.root=DIR --seeds 3

Each method is the same configuration with one part swapped. Every run stays in --runs, and a run that is
there already is not trained again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from scmrl_plugins.core.assembly import assemble
from scmrl_plugins.core.compose import compose
from scmrl_plugins.core.data import evaluation_loader, load_splits
from scmrl_plugins.core.devices import resolve
from scmrl_plugins.core.evaluation import evaluate
from scmrl_plugins.core.progress import Progress
from scmrl_plugins.core.run import create_run, open_run
from scmrl_plugins.core.training import train

METHODS: dict[str, dict[str, Any]] = {
    "audio": {"fusion": {"name": "audio"}},
    "visual": {"fusion": {"name": "visual"}},
    "late": {"fusion": {"name": "late"}},
    "cmrl": {"fusion": {"name": "cmrl", "align": False}},
    "cmrl+sao": {"fusion": {"name": "cmrl", "align": True}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", dest="files", action="append", default=[], help="configuration, as for scmrl")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="KEY=VALUE, as for scmrl")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--snr", type=float, nargs="*", default=[0.0], help="noise at test time, dB")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    conditions: dict[str, dict[str, float]] = {"clean": {}}
    for snr in options.snr:
        conditions[f"audio {snr:g} dB"] = {"audio": snr}
        conditions[f"visual {snr:g} dB"] = {"visual": snr}
        conditions[f"both {snr:g} dB"] = {"audio": snr, "visual": snr}
    print(f"{'':10}" + "".join(f"{name:>18}" for name in conditions), flush=True)
    for method in options.methods:
        results = [accuracies(method, seed, options, conditions) for seed in range(options.seeds)]
        cells = []
        for name in conditions:
            values = [100 * result[name] for result in results]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        print(f"{method:10}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def accuracies(
    method: str, seed: int, options: argparse.Namespace, conditions: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Test accuracy of one trained model under each condition."""
    device = resolve(options.device)
    config = compose(options.files, METHODS[method], [*options.sets, f"train.seed={seed}"])
    path = options.runs / f"{method}-{seed}"
    with Progress() as progress:
        run = open_run(path) if (path / "config.toml").exists() else create_run(path, assemble(config))
        parts = run.assemble()
        if not run.report_file.exists():  # written when a training is complete
            train(run, parts, device, progress)
            parts = run.assemble()
        loader = evaluation_loader(load_splits(parts.dataset, parts.config, ["test"])["test"], parts.config)
        parts.model.to(device)
        parts.loss.to(device)
        return {
            name: evaluate(parts.model, parts.loss, loader, device, noise=noise, seed=seed).accuracy
            for name, noise in conditions.items()
        }


if __name__ == "__main__":
    main()
