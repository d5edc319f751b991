"""Runs on the Hugging Face Hub, ``hf://USER/NAME[@REVISION]``, and folders of the same files."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.run import environment, weights
from scmrl_plugins.core.run.card import card
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.private import hub_client_error
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import shortened

SCHEME = "hf://"
COPIED = ("environment.json", "metrics.jsonl", "skipped.json", "report.html")
OTHERS = (*COPIED, "config.json")
FILES = ("config.toml", "model.safetensors", *OTHERS)
"""The files of a run that are shared; checkpoints are not, and nothing else of a repository is fetched."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def is_remote(run: object) -> bool:
    """Whether a RUN is on the Hub."""
    return str(run).startswith(SCHEME)


def repository(name: str) -> tuple[str, str | None]:
    """The repository and the revision, if any, of ``[hf://]USER/NAME[@REVISION]``; ``UserError`` if it is none."""
    given, _, revision = name.removeprefix(SCHEME).partition("@")
    if not _NAME.fullmatch(given) or ".." in given or "--" in given:
        raise UserError(f"{shortened(name, 200)}: no name of a repository, such as {SCHEME}user/name")
    return given, revision or None


def fetch(name: str, **options: Any) -> Path:
    """The folder with the files of a run on the Hub, from the cache where there is no network.

    ``options`` are those of ``hf_hub_download``. Raises ``UserError`` if there is no such run, or the Hub cannot
    be reached and it is not in the cache.
    """
    from huggingface_hub import errors, hf_hub_download

    found, revision = repository(name)
    options["revision"] = revision or options.get("revision")
    with explained(f"{SCHEME}{found}"):
        folder = Path(hf_hub_download(found, "config.toml", **options)).parent
        hf_hub_download(found, "model.safetensors", **options | {"revision": folder.name})
        for file in OTHERS:
            with contextlib.suppress(errors.EntryNotFoundError):  # a run need not have all of them
                hf_hub_download(found, file, **options | {"revision": folder.name})
    return folder


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Errors of the Hub in one line."""
    from huggingface_hub import errors

    known: dict[type[Exception], str] = {
        errors.GatedRepoError: "gated: ask for access there, then log in with hf auth login",
        errors.RepositoryNotFoundError: "no such repository, or not allowed: log in with hf auth login",
        errors.RevisionNotFoundError: "no such revision",
        errors.LocalTokenNotFoundError: "not logged in: hf auth login, or set HF_TOKEN",
        errors.OfflineModeIsEnabled: "the hub cannot be reached, as HF_HUB_OFFLINE is set",
        errors.LocalEntryNotFoundError: "not in the cache, and the hub cannot be reached: check the network",
        errors.EntryNotFoundError: "no run there (no config.toml or model.safetensors); push one with scmrl push",
        errors.HFValidationError: f"no name of a repository, such as {SCHEME}user/name",
    }
    kinds: tuple[type[Exception], ...] = (hub_client_error(), ConnectionError, *known)
    try:
        yield
    except kinds as error:
        message = next((text for kind, text in known.items() if isinstance(error, kind)), None)
        if message is None and isinstance(error, errors.HfHubHTTPError):
            status = error.response.status_code
            allowed = "not allowed: log in with hf auth login, or set HF_TOKEN, as a user who may do this"
            message = allowed if status in (401, 403) else f"the hub answers {status}; try again later"
        unreachable = "the hub cannot be reached: check the network, or HF_ENDPOINT"
        raise UserError(f"{name}: {message or unreachable}") from error


def save(model: Any, folder: Path) -> None:
    """Write a model as a run, with the results of the one it was loaded from; ``save_pretrained`` calls it."""
    source: Path | None = model.run
    for name in COPIED:
        if source is not None and (source / name).is_file() and source.resolve() != folder.resolve():
            shutil.copyfile(source / name, folder / name)
    if not (folder / "environment.json").is_file():
        files.write_json(folder / "environment.json", environment.describe(model.config))
    weights.save_weights(folder / "model.safetensors", model)
    described = {"library_name": "scmrl-plugins", "classes": model.classes, "channels": model.channels}
    files.write_text(folder / "config.json", json.dumps(described, indent=2) + "\n")
    files.write_text(folder / "config.toml", layers.to_toml(model.config))


def model_card(model: Any, **measured: Any) -> Any:
    """The model card of a model as ``huggingface_hub`` takes it."""
    from huggingface_hub import ModelCard

    return ModelCard(card(model, **measured), ignore_metadata_errors=False)
