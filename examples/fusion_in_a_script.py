"""Define a fusion block in a script or notebook, then build, train and test it.

python examples/fusion_in_a_script.py --images 300 --epochs 2 -o runs/script
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Fusion
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import train
from scmrl_plugins.explain import report
from scmrl_plugins.registry import register_inline


class Coincidence(Fusion):
    """a' = a + w (a mean_N v), v' = v + w (v mean_N a), with one learned weight w per channel.

    Amplifies activity that coincides with activity of the other modality.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes.
    """

    class Config(ComponentConfig):
        start: float = 1.0

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((context.embed_dims, 1), config.start))

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        together = (1 + self.weight * visual.mean(3, keepdim=True), 1 + self.weight * audio.mean(3, keepdim=True))
        return Fused(audio * together[0], visual * together[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1797, help="number of digits")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("-o", dest="run", default="runs/script")
    options = parser.parse_args()

    register_inline("fusion", "coincidence", Coincidence)
    sets = [f"dataset.images={options.images}", f"train.epochs={options.epochs}"]
    parts = assemble(compose(options={"fusion": {"name": "coincidence"}}, sets=sets))
    run = create_run(options.run, parts)
    with Progress() as progress:
        result = train(run, parts, torch.device("cpu"), progress)
    report.write(run)
    print(f"test accuracy {result.metrics['accuracy']:.2%} of {result.n} samples; report: {run.report_file}")


if __name__ == "__main__":
    main()
