"""Ray, on this machine or a cluster: started, kept quiet, stopped, and shared out among trials."""

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from scmrl_plugins.core.system.interrupts import handling, interrupt
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.sweep import SweepSection

INSTALL = "scmrl sweep needs Ray: pip install 'scmrl-plugins[sweep]'"

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise it warns; a task without a GPU hides them itself
}
"""Ray's environment variables, unless the user has set them."""
_SOCKET_NAME = 63
"""Characters that Ray appends to its folder to name its sockets; a system allows about 107 in all."""


@contextlib.contextmanager
def session(address: str | None, log_file: Path) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster at ``HOST:PORT``, or else to a session on this machine.

    Its messages go to ``log_file``; SIGTERM ends the block as Ctrl-C does. Raises ``UserError`` if Ray is not
    installed or does not start.
    """
    with _environment(local=not address), log_file.open("a", buffering=1) as log:
        try:
            import ray
        except ImportError as error:
            raise UserError(f"{INSTALL} ({error})") from None
        with _quiet(log), _started(ray, address), _quiet(log):  # twice: Ray adds handlers when it starts
            yield ray


@contextlib.contextmanager
def _environment(local: bool) -> Iterator[None]:
    """``_VARIABLES`` in the environment, where the user has not set them."""
    variables = dict(_VARIABLES)
    if local and "ray" not in sys.modules and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # Keeps other users of this machine out; Ray would store a token in the home directory for that.
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Send Ray's messages to a file."""
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
def _started(ray: Any, address: str | None) -> Iterator[None]:
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
            ray.init(**options, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            where = f"--address {address}" if address else "this machine"
            raise UserError(f"{where}: Ray does not start: {reason}") from None
        stack.enter_context(handling(interrupt, signal.SIGTERM))
        yield


def check_address(address: str) -> None:
    """``UserError`` unless ``HOST:PORT`` accepts connections: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[^/\s]+", host) or not port.isdecimal() or int(port) > 65535:
        raise UserError(
            f"--address {address}: write HOST:PORT, as ray start --head prints it, such as 10.0.0.1:6379"
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
    """A temporary folder for Ray's sockets and logs; folders of sweeps that were killed are removed too."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) + len("/scmrl-ray-0000000-00000000/") + _SOCKET_NAME > 107:
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


@dataclass(frozen=True)
class Shares:
    """The cores and GPUs of each trial, and the largest number of trials at once."""

    cpus: int
    gpus: float
    parallel: int

    def __str__(self) -> str:
        cores = "1 core" if self.cpus == 1 else f"{self.cpus} cores"
        return cores + (f" and {'1 GPU' if self.gpus == 1 else f'{self.gpus:g} GPUs'}" if self.gpus else "")


def machines(ray: Any) -> list[tuple[int, float]]:
    """Cores and GPUs of every machine that is up."""
    resources = [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
    return [(int(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in resources]


def share(machines: Sequence[tuple[int, float]], section: SweepSection, count: int, device: str) -> Shares:
    """What each of ``count`` trials gets of the machines; ``UserError`` if no machine has enough for one."""
    gpus = section.gpus
    if gpus is None:
        gpus = 1.0 if device in ("auto", "cuda") and any(cards for _, cards in machines) else 0.0
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: no trial gets a GPU; set sweep.gpus, or use --device cpu")

    def room(cpus: int) -> int:
        """How many trials of ``cpus`` cores fit on all machines."""
        return sum(min(cores // cpus, int(cards / gpus + 1e-9) if gpus else cores) for cores, cards in machines)

    least = section.cpus or 1
    if not room(least):
        largest = ", ".join(sorted({f"{cores} cores and {cards:g} GPUs" for cores, cards in machines}))
        raise UserError(
            f"no machine has {least} cores and {gpus:g} GPUs for a trial, there are {largest}; set sweep.cpus "
            f"and sweep.gpus to what one has"
        )
    parallel = min(section.parallel or count, count, room(least))
    cpus = section.cpus or max(1, sum(cores for cores, _ in machines) // parallel)
    while room(cpus) < parallel:
        cpus -= 1
    return Shares(cpus, gpus, parallel)
