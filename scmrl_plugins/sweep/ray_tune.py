"""Ray Tune runs the trials of a sweep, on this machine or on a cluster; nothing that it keeps itself is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.interrupts import handling
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep import sweep, worker
from scmrl_plugins.sweep.sweep import DONE, Place, SweepSection, Trial

INSTALL = "scmrl sweep needs Ray Tune: pip install 'scmrl-plugins[sweep]'"

_SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns; who has no GPU is told so by the task
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints boxes however quiet it is asked to be
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""What Ray reads of the environment, where the user has not said otherwise."""
_SOCKET = 63
"""Letters that Ray puts behind its folder to name its sockets, of which a system takes about 107."""


@dataclass(frozen=True)
class Shares:
    """What a trial gets, and how many there are at once, at the most."""

    cpus: int
    gpus: float
    parallel: int

    def __str__(self) -> str:
        cores = "1 core" if self.cpus == 1 else f"{self.cpus} cores"
        return cores + (f" and {'1 GPU' if self.gpus == 1 else f'{self.gpus:g} GPUs'}" if self.gpus else "")


def run(
    section: SweepSection,
    trials: Sequence[Trial],
    place: Place,
    device: str,
    progress: Progress,
    address: str | None = None,
    after_run: Callable[[Run], None] | None = None,
) -> None:
    """Train the trials that have no result yet; each leaves its result, or the reason why there is none.

    ``address``: ``HOST:PORT`` of a Ray cluster; none: what ``RAY_ADDRESS`` says, else this machine alone.
    ``after_run``, a function of a module, gets each run once it is trained. Raises ``UserError`` where Ray is not
    installed or does not start, or no machine has what a trial is to get.
    """
    left = [trial for trial in trials if sweep.outcome(place, trial)["status"] != DONE]
    if not left:
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with _surroundings(local=not address), (place.path / "ray.log").open("a", buffering=1) as log:
        progress.stage("starting Ray", None)
        ray, tune = _import()
        with _quiet(log), _session(ray, address), _quiet(log):  # again, as Ray adds to what it finds
            shares = _shares(ray, section, len(left), device)
            progress.line(
                f"{len(left)} of {len(trials)} trials to train, {shares.parallel} at once; each has {shares}"
            )
            for trial in left:
                place.failure_file(trial.name).unlink(missing_ok=True)
            _tune(tune, section, left, place, device, shares, progress, after_run)


def _import() -> tuple[Any, Any]:
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise UserError(f"{INSTALL} ({error})") from None
    return ray, tune


@contextlib.contextmanager
def _surroundings(local: bool) -> Iterator[None]:
    """Ray's variables in the environment, as the user or else ``_SURROUNDINGS`` has them."""
    wanted = dict(_SURROUNDINGS)
    if local and "ray" not in sys.modules and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # Nobody else on this machine may use the session; Ray would keep a token in the user's home for that.
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """What Ray has to say goes to a file."""
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("ray")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        with contextlib.redirect_stdout(log):
            yield
    finally:
        logger.handlers, logger.propagate = before


@contextlib.contextmanager
def _session(ray: Any, address: str | None) -> Iterator[None]:
    """Ray, running; SIGTERM ends it as Ctrl-C does."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    with contextlib.ExitStack() as stack:
        if address:
            check_address(address)
            options: dict[str, Any] = {"address": address}
        else:
            options = {"address": "local", "include_dashboard": False}
            if "RAY_TMPDIR" not in os.environ:
                options["_temp_dir"] = stack.enter_context(_folder())
        stack.callback(ray.shutdown)
        try:
            ray.init(**options, **quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            words = " ".join(str(error).split())[:300] or type(error).__name__
            where = f"--address {address}" if address else "this machine"
            raise UserError(f"{where}: Ray does not start there: {words}") from None
        stack.enter_context(handling(_stop, signal.SIGTERM))
        yield


def check_address(address: str) -> None:
    """``UserError`` for what is no ``HOST:PORT``, or where nobody answers; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[^/\s]+", host) or not port.isdecimal() or int(port) > 65535:
        raise UserError(
            f"--address {address}: write HOST:PORT, as ray start --head says it, such as 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({error.strerror or error}); start one with "
            f"ray start --head --port={port}"
        ) from None


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A temporary folder for Ray's sockets and logs; those of sweeps that were killed go too."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) + len("/scmrl-ray-0000000-00000000/") + _SOCKET > 107:
        root = Path("/tmp")
    for old in root.glob("scmrl-ray-*-*"):
        with contextlib.suppress(ValueError, OSError):
            if not psutil.pid_exists(int(old.name.split("-")[2])):
                shutil.rmtree(old, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"scmrl-ray-{os.getpid()}-", dir=root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _shares(ray: Any, section: SweepSection, count: int, device: str) -> Shares:
    """What a trial gets of the machines that are there; ``UserError`` where none has so much."""
    found = [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
    machines = [(int(has.get("CPU", 0)), float(has.get("GPU", 0))) for has in found]
    gpus = section.gpus
    if gpus is None:
        gpus = 1.0 if device in ("auto", "cuda") and any(cards for _, cards in machines) else 0.0
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: no trial gets a GPU; set sweep.gpus, or use --device cpu")

    def room(cpus: int) -> int:
        """How many trials with so many cores fit on all machines."""
        return sum(min(cores // cpus, int(cards / gpus + 1e-9) if gpus else cores) for cores, cards in machines)

    wanted = section.cpus or 1
    if not room(wanted):
        largest = ", ".join(sorted({f"{cores} cores and {cards:g} GPUs" for cores, cards in machines}))
        raise UserError(
            f"no machine has {wanted} cores and {gpus:g} GPUs for a trial, there are {largest}; set sweep.cpus "
            f"and sweep.gpus to what one has"
        )
    parallel = min(section.parallel or count, count, room(wanted))
    cpus = section.cpus or max(1, sum(cores for cores, _ in machines) // parallel)
    while room(cpus) < parallel:
        cpus -= 1
    return Shares(cpus, gpus, parallel)


def _tune(
    tune: Any,
    section: SweepSection,
    trials: Sequence[Trial],
    place: Place,
    device: str,
    shares: Shares,
    progress: Progress,
    after_run: Callable[[Run], None] | None,
) -> None:
    from ray.tune.logger import JsonLoggerCallback

    own = place.path.resolve() / ".tune"
    shutil.rmtree(own, ignore_errors=True)
    hidden = not shares.gpus and device != "mps"
    tasks = [
        worker.task_of(trial, place, device, worker.threads(shares.cpus), hidden, after_run) for trial in trials
    ]
    tuner = tune.Tuner(
        tune.with_resources(_trial, {"cpu": shares.cpus, "gpu": shares.gpus}),
        param_space={"task": tune.grid_search(tasks)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=shares.parallel,
            reuse_actors=True,  # a process that has loaded torch trains one trial after the other
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(own),
            verbose=0,
            callbacks=[_watch(tune, trials, place, progress), JsonLoggerCallback()],  # or it misses its own files
            failure_config=tune.FailureConfig(max_failures=section.retries),
        ),
    )
    try:
        results = tuner.fit()
        for result in results:
            name = result.config["task"]["name"] if result.config else ""
            if result.error is not None and name and not place.result_file(name).exists():
                place.fail(name, _why(result.error, section.retries))
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _name(trial: Any) -> str:
    return str(trial.config["task"]["name"])


def _trial(config: Mapping[str, Any]) -> None:
    """What Ray calls in a process of its own."""
    from ray import tune

    def report(figures: Mapping[str, Any]) -> None:
        tune.report({key: figures[key] for key in ("epoch", "validation_accuracy", "validation_loss")})

    worker.work(config["task"], report)


def _why(error: BaseException, retries: int) -> str:
    """Why a trial's process came to an end, in one line."""
    kind = type(error).__name__
    if "OutOfMemory" in kind or "OutOfMemory" in str(error):
        return "its process was stopped because the machine had no memory left: let fewer trials run at once"
    if "Died" in kind or "Crashed" in kind or "Unavailable" in kind:
        times = f", {retries + 1} times" if retries else ""
        return f"its process was killed{times}: is there too little memory? Let fewer trials run at once"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"its process could not run: {lines[-1][:300] if lines else kind}"


def _watch(tune: Any, trials: Sequence[Trial], place: Place, progress: Progress) -> Any:
    """A callback of Tune's that tells people how far the trials are."""
    by_name = {trial.name: trial for trial in trials}
    done = {name: len([1 for line in place.run(name).metrics() if "epoch" in line]) for name in by_name}
    total = sum(trial.config.train.epochs for trial in trials)
    ended: set[str] = set()
    progress.stage("epochs of all trials", total)
    progress.advance(sum(done.values()))

    def move(name: str, epochs: int) -> None:
        progress.advance(epochs - done[name])
        done[name] = epochs

    class Watch(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            if "epoch" in result:
                move(_name(trial), int(result["epoch"]))

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            progress.line(f"{_name(trial)}: its process was killed; it goes on from its last checkpoint")

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            self._tell(_name(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            self._tell(_name(trial))

        def _tell(self, name: str) -> None:
            if name in ended:
                return
            ended.add(name)
            mine = by_name[name]
            move(name, mine.config.train.epochs)
            told = sweep.outcome(place, mine)
            if told["status"] == DONE:
                words = (
                    f"validation {told['validation_accuracy']:.2%}, test {told['test_accuracy']:.2%}, "
                    f"epoch {told['best_epoch']}"
                )
            else:
                words = f"failed: {told.get('reason', 'its process was killed')}"
            progress.line(f"{len(ended)}/{len(by_name)}  {name}  {words}  ({sweep.settings_text(mine.settings)})")

        def __reduce__(self) -> Any:
            return tune.Callback, ()  # Tune writes down what it was given, which nobody reads

    return Watch()
