from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_runs import SMALL_MODEL
from PIL import Image
from served import LIMITS, SECONDS, WAITING

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.core.run.directory import create_run, open_run
from scmrl_plugins.serve import app, server
from scmrl_plugins.serve.answer import Answers


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights: what is served does not depend on the training."""
    path = tmp_path_factory.mktemp("served") / "run"
    sets = [f"{key}={value}" for key, value in {**SMALL_MODEL, "neuron.threshold": 0.3}.items()]
    create_run(path, assemble(layers.compose(sets=[*sets, "dataset.name=av-digits"])))
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a.wav`` and ``a.png``, as the run's data set has them."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    soundfile.write(folder / "a.wav", rng.normal(0, 0.1, 4000), 8000)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / "a.png")
    return folder


@pytest.fixture(scope="session")
def answers(run: Path) -> Answers:
    return Answers(open_run(run), torch.device("cpu"), SECONDS)


@pytest.fixture
def address(answers: Answers) -> Iterator[str]:
    """A server in a thread."""
    with server.listen("127.0.0.1", 0) as listening:
        serving = server.server(app.create(answers, "run", LIMITS, WAITING), LIMITS.seconds)
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        serving.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
