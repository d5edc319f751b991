"""Built-in data sets.

To add one, write ``NAME.py`` with a class that inherits a base class, write a miniature of its files for tests,
and register the class below. Where things are:

- ``bases``: base classes. ``FileRecordings`` for sounds and pictures or videos in folders (a subclass lists them),
  ``Recordings`` for those from elsewhere, ``Digits`` for digits, ``FileDataset`` for files of other kinds.
- ``files``: from folders and tables to samples and splits.
- ``media``: one module a file format, with ``decode``.
- ``sources``: collections of one modality, which several data sets may pair up.
- ``miniatures``: what ``fixture`` writes, one module a data set.
- ``av_folder``, ``hub``, ``speech``: the parts of a data set that is too large for one module.
"""

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
        "built-in: handwritten 8x8 digits with digits spoken by eSpeak NG (extra 'demo')",
    )
    register(
        "dataset",
        "spoken-digits",
        "scmrl_plugins.plugins.datasets.spoken_digits:SpokenDigits",
        "recorded digits (FSDD, Arabic Speech Commands, AudioMNIST, Speech Commands) with MNIST images",
    )
    register(
        "dataset",
        "av-folder",
        "scmrl_plugins.plugins.datasets.av_folder.dataset:AVFolder",
        "audio with images or videos, from a folder per class or a table",
    )
    register(
        "dataset",
        "urbansound8k-av",
        "scmrl_plugins.plugins.datasets.urbansound8k_av:UrbanSound8KAV",
        "urban sounds with images, ten classes (UrbanSound8K-AV), from dataset.root",
    )
    register(
        "dataset",
        "mnistdvs-ntidigits",
        "scmrl_plugins.plugins.datasets.mnistdvs_ntidigits:MNISTDVSNTIDIGITS",
        "events of a camera (MNIST-DVS, AEDAT) and a cochlea (N-TIDIGITS, HDF5), from dataset.root",
    )
    register(
        "dataset",
        "hub",
        "scmrl_plugins.plugins.datasets.hub.dataset:Hub",
        "Hugging Face data set by id, or Parquet, JSON Lines or CSV files, with audio, images and labels",
    )
    register(
        "dataset",
        "crema-d",
        "scmrl_plugins.plugins.datasets.crema_d:CremaD",
        "voices and faces of actors, six emotions (CREMA-D), from dataset.root",
    )
