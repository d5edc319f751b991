"""What processes of their own make of hub data sets: programs for ``hub_data.other_process``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import datasets
import huggingface_hub
from fake_hub import COMMIT
from hub_data import build, content
from planted_files import prepared

from scmrl_plugins.core.data.prepare import Prepared
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES
from scmrl_plugins.registry import UserError


def computed(found: Prepared) -> int:
    return sum(counts.computed for counts in found.counts.values())


def compute_again() -> None:
    """How much a process computes of each of the data sets that its arguments are the settings of."""
    print([computed(prepared("hub", **json.loads(settings))) for settings in sys.argv[1:]])


def online() -> None:
    """What a process that knows the fake hub makes of it, as JSON."""

    def tell(path: str, **settings: Any) -> Any:
        try:
            dataset = build(path, **settings)
            return {"revision": dataset.config.revision, "content": content(dataset)}
        except UserError as error:
            return str(error)

    results = {
        "downloaded": tell("somebody/clips"),
        "streamed": tell("somebody/clips", streaming=True),
        "named": tell("somebody/names", classes=CLASSES),
        "gated": tell("somebody/gated"),
        "script": tell("somebody/script"),
        "absent": tell("somebody/else"),
        "revision": tell("somebody/clips", revision="v2"),
    }
    os.environ["HF_TOKEN"] = "hf_secret"
    results["token"] = tell("somebody/gated", revision="main")
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    results["offline"] = tell("somebody/clips")
    results["other"] = tell("somebody/clips", revision=COMMIT[::-1])
    print(json.dumps(results))
