"""What a result depends on beside its configuration: versions, plugins, seed, commit."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import subprocess
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
    """Where a plugin came from; a file that no package stands for is told by its content."""
    described = {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    if plugin.distribution == INLINE and plugin.file:
        described["file"] = plugin.file
        described["sha256"] = hashlib.sha256(Path(plugin.file).read_bytes()).hexdigest()
    return described


def version_of(name: str) -> str | None:
    """Of a package; none where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, or none where it is installed without one."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
