"""What a component promises as part of a model: it trains, is saved and loaded, and its plugin may be renamed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from scmrl_plugins.core.config.layers import compose, validate
from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import assemble, assemble_model
from scmrl_plugins.core.run.directory import create_run, open_run
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import KINDS, Entry, UserError, catalogue
from scmrl_plugins.registry.kinds import MODULES
from scmrl_plugins.testing.checks import check, fail, require
from scmrl_plugins.testing.subject import CHANNELS, CLASSES, Subject
from scmrl_plugins.testing.values import SEED, call


@contextlib.contextmanager
def registered(subject: Subject, plugin_name: str | None = None) -> Iterator[Entry]:
    """Put the subject into the catalogue for a while, optionally under another plugin name."""
    current = catalogue()
    entries = current.entries
    entry = subject.entry
    if plugin_name is not None:
        entry = replace(entry, plugin=replace(entry.plugin, name=plugin_name))
    current.entries = [*(other for other in entries if other != subject.entry), entry]
    try:
        yield entry
    finally:
        current.entries = entries


@check(*MODULES)
def check_works_in_a_model(subject: Subject) -> None:
    """A model with it takes a training step: the loss and the gradients are finite."""
    with registered(subject), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model, loss = assemble_model(validate(subject.sections()), CLASSES, CHANNELS)
        images = random_inputs(model, torch.device("cpu"), batch=len(CLASSES))
        total, _ = loss(model(**images), torch.arange(len(CLASSES)))
        require(bool(torch.isfinite(total)), f"the loss of a model with it is {total.item()}")
        total.backward()
        reached = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for name, gradient in reached.items():
            require(
                bool(torch.isfinite(gradient).all()), f"the gradient of {name} in a model with it is not finite"
            )
        require(
            any(bool(gradient.any()) for gradient in reached.values()), "no parameter of a model with it learns"
        )


@check(*KINDS)
def check_saved_and_loaded(subject: Subject) -> None:
    """A run with it has the same configuration and results after it is saved and opened again."""
    with registered(subject), tempfile.TemporaryDirectory() as folder:
        parts = assemble(compose(options=subject.sections()))
        create_run(Path(folder) / "run", parts)
        opened = open_run(Path(folder) / "run")
        again = opened.load_model()
        require(
            again.config.model_dump() == parts.config.model_dump(),
            "the configuration of the opened run differs",
        )
        images = random_inputs(again, torch.device("cpu"))
        inputs = (images["audio"], images["visual"])
        first, second = call(parts.model.eval(), inputs), call(again, inputs)
        for name, tensor in first.items():  # to the bit: the same operations on the same layout
            require(torch.equal(tensor, second[name]), f"{name} of the model opened again differs")


@check(*KINDS)
def check_renamed_plugin_is_explained(subject: Subject) -> None:
    """After its plugin is renamed, a run opens by the bare name; ``plugin:name`` is an error that gives both."""
    new = f"{subject.entry.plugin.name}-renamed"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with registered(subject):
            create_run(path, assemble(compose(options=subject.sections())))
        with registered(subject, new) as entry:
            try:
                open_run(path).load_model()
            except UserError as error:
                named = subject.entry.qualified in str(error) and entry.qualified in str(error)
                require(named, f"the error after its plugin is renamed does not give both names: {error}")
            else:
                fail("a run opens although its plugin is no longer installed")
            config = path / "config.toml"
            bare = config.read_text(encoding="utf-8").replace(f'"{subject.entry.qualified}"', f'"{entry.name}"')
            files.write_text(config, bare)
            if catalogue().get(entry.kind, entry.name) == entry:
                compose([config])
                open_run(path).load_model()
