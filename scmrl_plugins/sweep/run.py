"""The trials of a sweep as tasks of Ray, side by side; a trial whose process is killed is started again."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.sweep import cluster, worker
from scmrl_plugins.sweep.directory import DONE, SweepDirectory
from scmrl_plugins.sweep.sweep import SweepSection, Trial, settings_text
from scmrl_plugins.sweep.worker import Task

_SECONDS = 0.5
"""Between two looks at the metrics of the trials that run."""


def run(
    section: SweepSection,
    trials: Sequence[Trial],
    directory: SweepDirectory,
    device: str,
    progress: Progress,
    address: str | None = None,
    after_run: Callable[[Run], None] | None = None,
) -> None:
    """Train the trials that have no result yet; each leaves its result, or the reason why it failed.

    ``address``: ``HOST:PORT`` of a Ray cluster; without it ``RAY_ADDRESS``, or else this machine.
    ``after_run``, a function of a module, is called with each run once it is trained, in its process. Raises
    ``UserError`` if Ray is not installed or does not start, or no machine has the resources of a trial.
    """
    left = [trial for trial in trials if directory.outcome(trial)["status"] != DONE]
    if not left:
        return
    progress.stage("starting Ray", None)
    with cluster.session(address or os.environ.get("RAY_ADDRESS"), directory.path / "ray.log") as ray:
        shares = cluster.share(cluster.machines(ray), section, len(left), device)
        progress.line(
            f"{len(left)} of {len(trials)} trials to train, {shares.parallel} at once; each has {shares}"
        )
        for trial in left:
            directory.failure_file(trial.name).unlink(missing_ok=True)
        hide_gpus = not shares.gpus and device != "mps"
        threads = worker.threads(shares.cpus)
        tasks = [Task.of(trial, directory, device, threads, hide_gpus, after_run) for trial in left]
        work = ray.remote(num_cpus=shares.cpus, num_gpus=shares.gpus, max_retries=0)(worker.work)
        _train(ray, work.remote, tasks, shares.parallel, section.retries, Display(left, directory, progress))


def _train(
    ray: Any, start: Callable[[Task], Any], tasks: Sequence[Task], parallel: int, retries: int, display: Display
) -> None:
    """Work on the tasks, ``parallel`` at a time; each is started again up to ``retries`` times if it is killed."""
    waiting, running, kills = deque(tasks), dict[Any, Task](), Counter[str]()
    while waiting or running:
        while waiting and len(running) < parallel:
            task = waiting.popleft()
            running[start(task)] = task
        ended, _ = ray.wait(list(running), timeout=_SECONDS)
        for reference in ended:
            task = running.pop(reference)
            name, directory = task.trial.name, task.directory
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                killed = not isinstance(error, ray.exceptions.RayTaskError)
                kills[name] += killed
                if killed and kills[name] <= retries:
                    display.restarted(task.trial)
                    waiting.appendleft(task)
                    continue
                if not directory.result_file(name).exists():
                    directory.fail(name, cause(error, retries))
            display.ended(task.trial)
        display.update(task.trial for task in running.values())


def cause(error: BaseException, retries: int) -> str:
    """Why the process of a trial ended, in one line."""
    kind = type(error).__name__
    if "OutOfMemory" in kind or "OutOfMemory" in str(error):
        return "its process was stopped because the machine had no memory left: let fewer trials run at once"
    if "Died" in kind or "Crashed" in kind or "Unavailable" in kind:
        times = f", {retries + 1} times" if retries else ""
        return f"its process was killed{times}: is there too little memory? Let fewer trials run at once"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"its process could not run: {lines[-1][:300] if lines else kind}"


class Display:
    """How far the trials are: the epochs of all of them on the progress bar, and a line for each that ends."""

    def __init__(self, trials: Sequence[Trial], directory: SweepDirectory, progress: Progress) -> None:
        self.directory, self.progress, self.count = directory, progress, len(trials)
        self.trials_ended = 0
        self.epochs = {trial.name: directory.epochs_done(trial.name) for trial in trials}
        progress.stage("epochs of all trials", sum(trial.config.train.epochs for trial in trials))
        progress.advance(sum(self.epochs.values()))

    def update(self, running: Iterable[Trial]) -> None:
        """Count the epochs that running trials have finished since."""
        for trial in running:
            self._advance(trial, self.directory.epochs_done(trial.name))

    def restarted(self, trial: Trial) -> None:
        """Print that the process of a trial was killed."""
        self.progress.line(f"{trial.name}: its process was killed; it resumes from its last checkpoint")

    def ended(self, trial: Trial) -> None:
        """Print the result of a trial, or why it failed."""
        self._advance(trial, trial.config.train.epochs)
        self.trials_ended += 1
        outcome = self.directory.outcome(trial)
        if outcome["status"] == DONE:
            words = (
                f"validation {outcome['validation_accuracy']:.2%}, test {outcome['test_accuracy']:.2%}, "
                f"epoch {outcome['best_epoch']}"
            )
        else:
            words = f"failed: {outcome.get('reason', 'its process was killed')}"
        settings = settings_text(trial.settings)
        self.progress.line(f"{self.trials_ended}/{self.count}  {trial.name}  {words}  ({settings})")

    def _advance(self, trial: Trial, epochs: int) -> None:
        self.progress.advance(epochs - self.epochs[trial.name])
        self.epochs[trial.name] = epochs
