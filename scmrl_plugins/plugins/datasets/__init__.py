"""Built-in data sets: spoken digits beside handwritten ones."""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register


@hookimpl
def scmrl_register(register: Register) -> None:
    """Register the built-in data sets."""
    register(
        "dataset",
        "av-digits",
        "scmrl_plugins.plugins.datasets.av_digits:AVDigits",
        "embedded: real handwritten 8x8 digits, spoken by eSpeak NG (extra 'demo')",
    )
    register(
        "dataset",
        "spoken-digits",
        "scmrl_plugins.plugins.datasets.spoken_digits:SpokenDigits",
        "FSDD recordings paired with MNIST images of the same digit, from dataset.root",
    )
    register(
        "dataset",
        "av-folder",
        "scmrl_plugins.plugins.datasets.av_folder:AVFolder",
        "sounds and pictures or videos of your own, in folders of classes or a table",
    )
    register(
        "dataset",
        "urbansound8k-av",
        "scmrl_plugins.plugins.datasets.urbansound8k_av:UrbanSound8KAV",
        "sounds of the city with pictures, ten classes, from dataset.root",
    )
    register(
        "dataset",
        "mnistdvs-ntidigits",
        "scmrl_plugins.plugins.datasets.mnistdvs_ntidigits:MNISTDVSNTIDIGITS",
        "events of digits seen (MNIST-DVS, AEDAT) and heard (N-TIDIGITS, HDF5), from dataset.root",
    )
    register(
        "dataset",
        "hub",
        "scmrl_plugins.plugins.datasets.hub.hub:Hub",
        "any Hugging Face data set, by id, or Parquet, JSON lines or CSV, with sounds, pictures and labels",
    )
    register(
        "dataset",
        "crema-d",
        "scmrl_plugins.plugins.datasets.crema_d:CremaD",
        "voices and faces of actors in six emotions (CREMA-D), from dataset.root",
    )
