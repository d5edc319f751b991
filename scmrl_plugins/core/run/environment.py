"""The environment of a run: versions, plugins, seed, commit, hardware."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.catalogue import INLINE, Plugin

PACKAGES = (
    "scmrl-plugins",
    "torch",
    "braincog",
    "timm",
    "accelerate",
    "datasets",
    "einops",
    "pydantic",
    "numpy",
)


def describe(config: ExperimentConfig) -> dict[str, Any]:
    """The environment of a run, ready for JSON."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "plugins": [_plugin(plugin) for plugin in catalogue().plugins],
        "seed": config.train.seed,
        "compile": os.environ.get("SCMRL_COMPILE", "auto"),
        "git_commit": git_commit(),
    }


def _plugin(plugin: Plugin) -> dict[str, str]:
    """The origin of a plugin; a file without a package is identified by its hash."""
    described = {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    if plugin.distribution == INLINE and plugin.file:
        described["file"] = plugin.file
        described["sha256"] = hashlib.sha256(Path(plugin.file).read_bytes()).hexdigest()
    return described


def hardware(device: str, device_name: str | None = None) -> dict[str, Any]:
    """The machine that a benchmark ran on: device, processor, cores, and the C++ compiler if there is one."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl")
    return {
        "device": device,
        "device_name": device_name,
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "compiler": next((name for name in compilers if name and shutil.which(name)), None),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def provenance(command: str, machine: str, described: Mapping[str, Any]) -> str:
    """One line of Markdown: the command that made a result, the machine, and the system and versions in
    ``described``, as ``describe`` gives them.
    """
    packages = ", ".join(f"{name} {version}" for name, version in described["packages"].items() if version)
    return f"`{command}` on {machine}, {described['platform']}; {packages}"


def version_of(name: str) -> str | None:
    """The version of a package; ``None`` if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from; ``None`` if it is not a checkout."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
