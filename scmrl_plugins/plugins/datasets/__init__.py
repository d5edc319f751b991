"""Built-in data sets.

To add one, write ``NAME.py`` with a class that inherits a base class, write a miniature of its files for tests,
and add the class to ``BUILT_IN``. Where things are:

- ``bases``: base classes. ``ListedClips`` for clips of videos that lists name, ``FileRecordings`` for sounds and
  pictures or videos in folders (a subclass lists them), ``Recordings`` for those from elsewhere, ``Digits`` for
  digits, ``FileDataset`` for files of other kinds.
- ``files``: from folders and tables to samples and splits.
- ``media``: one module a file format, with ``decode``.
- ``sources``: collections of one modality, which several data sets may pair up.
- ``miniatures``: what ``fixture`` writes, one module a data set.
- ``av_folder``, ``hub``, ``speech``: the parts of a data set that is too large for one module.
"""

from __future__ import annotations

from scmrl_plugins.registry import hookimpl
from scmrl_plugins.registry.hookspecs import Register

BUILT_IN = (
    (
        "av-digits",
        "av_digits:AVDigits",
        "built-in: handwritten 8x8 digits with digits spoken by eSpeak NG (extra 'demo')",
    ),
    (
        "spoken-digits",
        "spoken_digits:SpokenDigits",
        "recorded digits (FSDD, Arabic Speech Commands, AudioMNIST, Speech Commands) with MNIST images",
    ),
    ("av-folder", "av_folder.dataset:AVFolder", "audio with images or videos, from a folder per class or a table"),
    (
        "urbansound8k-av",
        "urbansound8k_av:UrbanSound8KAV",
        "urban sounds with images, ten classes (UrbanSound8K-AV), from dataset.root",
    ),
    (
        "mnistdvs-ntidigits",
        "mnistdvs_ntidigits:MNISTDVSNTIDIGITS",
        "events of a camera (MNIST-DVS, AEDAT) and a cochlea (N-TIDIGITS, HDF5), from dataset.root",
    ),
    (
        "hub",
        "hub.dataset:Hub",
        "Hugging Face data set by id, or Parquet, JSON Lines or CSV files, with audio, images and labels",
    ),
    ("crema-d", "crema_d:CremaD", "voices and faces of actors, six emotions (CREMA-D), from dataset.root"),
    ("ave", "ave:AVE", "audio-visual events in clips of 10 s, 28 classes (AVE), from dataset.root"),
    (
        "kinetics-sounds",
        "kinetics_sounds:KineticsSounds",
        "actions that are heard, 31 classes (33 and 34: variants) of Kinetics, from dataset.root",
    ),
    ("vggsound", "vggsound:VGGSound", "sounds whose source is seen, 309 classes (VGGSound), from dataset.root"),
    ("ravdess", "ravdess:Ravdess", "actors who speak or sing, eight emotions (RAVDESS), from dataset.root"),
)
"""Name, module and class in this folder, and summary."""


@hookimpl
def scmrl_register(register: Register) -> None:
    """Register the built-in data sets."""
    for name, target, summary in BUILT_IN:
        register("dataset", name, f"scmrl_plugins.plugins.datasets.{target}", summary)
