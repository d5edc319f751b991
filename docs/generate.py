"""Write docs/cli.md, docs/components.md and the tables of docs/plugins.md and README.md from the code.

The tables of benchmark results in all documents are made from benchmarks/results.

A table of results stands between two comments, and the first says what it shows:

    <!-- table: digits/same accuracy; methods: late, cmrl; conditions: clean, audio-0dB -->
    <!-- end of table -->

The folder in benchmarks/results and the task, then ranking, accuracy, alone, worst, costs, contribution, versus
METHOD or the name of a metric. Without a list, all methods and all conditions are shown. Without a task, as in
``digits accuracy; methods: late, cmrl; tasks: same, match``, both lists are needed, and the accuracy without
corruption is shown by task.

With --check, write nothing and fail if a page is out of date.

python docs/generate.py [--check]
"""

from __future__ import annotations

import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

os.environ["SCMRL_DISABLE_PLUGINS"] = "all"  # the pages describe what this project ships

from scmrl_plugins.bench.accuracy import tables
from scmrl_plugins.cli import COMMANDS, main
from scmrl_plugins.core import interfaces
from scmrl_plugins.core.config.sections import DataConfig, TrainConfig
from scmrl_plugins.core.evaluation.metrics import METRICS
from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.registry import KINDS, UserError, catalogue
from scmrl_plugins.registry.errors import near
from scmrl_plugins.registry.kinds import MODULES, TABLE
from scmrl_plugins.testing import CHECKS

HERE = Path(__file__).parent
BELOW = "<!-- Below this line written by docs/generate.py; do not edit. -->\n"
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n"


def cli_page() -> str:
    """The help of every command."""
    parts = ["# Command line\n", NOTE]
    context = click.Context(main, info_name="scmrl", terminal_width=100, **main.context_settings)
    parts.append(f"```text\n{main.get_help(context)}\n```\n")
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=100)
        parts.append(f"## scmrl {name}\n\n```text\n{command.get_help(inner)}\n```\n")
        for deeper, inside in getattr(command, "commands", {}).items():
            innermost = click.Context(inside, info_name=deeper, parent=inner, terminal_width=100)
            parts.append(f"## scmrl {name} {deeper}\n\n```text\n{inside.get_help(innermost)}\n```\n")
    return "\n".join(parts)


def components_page() -> str:
    """Every component with its settings, and the settings of ``data``, ``model`` and ``train``."""
    parts = ["# Components and settings\n", NOTE]
    parts.append("A setting is written `KIND.SETTING` with `--set`, or in the section `[KIND]` of a TOML file.\n")
    described: dict[type, str] = {}
    for kind in KINDS:
        parts.append(f"## {kind}\n")
        for entry in catalogue().entries:
            if entry.kind != kind:
                continue
            cls = entry.load()
            parts.append(f"### `{entry.name}` ({entry.plugin.name})\n\n{entry.summary}\n")
            doc = inspect.cleandoc(cls.__doc__ or "")
            if entry.summary.removeprefix("BrainCog: ") not in doc:
                parts.append(doc + "\n")
            if cls.Config in described:
                parts.append(f"Settings as of `{described[cls.Config]}`.\n")
            else:
                parts.append("\n".join(settings(cls.Config)) + "\n")
                if cls.Config.model_fields:
                    described[cls.Config] = entry.name
    for name, model in (("data", DataConfig), ("model", ModelConfig), ("train", TrainConfig)):
        parts.append(f"## {name}\n\n" + "\n".join(settings(model)) + "\n")
    return "\n".join(parts)


def settings(model: type) -> Iterator[str]:
    """A table of a configuration's fields."""
    if not model.model_fields:
        yield "No settings."
        return
    yield "| setting | default | description |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "none" if default is None else repr(default)
        yield f"| `{name}` | `{shown}` | {(field.description or name.replace('_', ' ')).replace('|', '/')} |"


def plugins_page() -> str:
    """docs/plugins.md with its tables of kinds, tags and checks written anew."""
    text = (HERE / "plugins.md").read_text(encoding="utf-8")
    tutorial, line, _ = text.partition(BELOW)
    parts = [tutorial + (line or BELOW), "## The kinds\n"]
    parts.append("Components are torch modules, built as `Component(config, context)`, except data sets.\n")
    parts += ["| kind | what it is called with and returns | built-in components |", "|---|---|---|"]
    for kind in KINDS:
        doc = inspect.cleandoc(pkgutil.resolve_name(TABLE[kind].base).__doc__ or "").split("\n\n")[0]
        names = [f"`{entry.name}`" for entry in catalogue().entries if entry.kind == kind]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        parts.append(f"| `{kind}` | {_cell(doc)} | {shown} |")
    parts.append(
        "\nThe base classes, with all optional abilities: [core/interfaces](../scmrl_plugins/core/interfaces).\n"
    )
    parts += [
        "## Tags\n",
        "A component that departs from what its kind promises declares it: "
        '`tags = frozenset({"stochastic"})` on the\nclass, or on the instance if it depends on settings.\n',
    ]
    parts += ["| tag | what it declares |", "|---|---|"]
    parts += [f"| `{tag}` | {_cell(meaning)} |" for tag, meaning in interfaces.TAGS.items()]
    parts += [
        "\n## The checks\n",
        "`scmrl check` and `parametrize_with_checks` run these, according to kind and tags. Declare a check that "
        "your\ncomponent fails for a good reason in its tests: "
        '`expected_failed_checks={"check_...": "why"}`.\n',
    ]
    parts += ["| check | kinds | unless tagged | what it requires |", "|---|---|---|---|"]
    for check in sorted(CHECKS.values(), key=lambda c: (-len(c.kinds), KINDS.index(c.kinds[0]))):
        others = " and ".join(f"`{kind}`" for kind in KINDS if kind not in MODULES)
        every = {KINDS: "all", MODULES: f"all but {others}"}
        kinds = every.get(check.kinds, ", ".join(f"`{kind}`" for kind in check.kinds))
        when = f"`{check.unless}`" if check.unless else ""
        parts.append(f"| `{check.name}` | {kinds} | {when} | {_cell(check.summary)} |")
    return "\n".join(parts) + "\n"


def readme() -> str:
    """README.md with the built-in components in the last column of its table of kinds."""
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        entries = [entry for entry in catalogue().entries if entry.kind == kind]
        names = [f"`{entry.name}`" for entry in entries if entry.plugin.name != "braincog"]
        if nodes := len(entries) - len(names):
            names.append(f"and {nodes} nodes of BrainCog such as `braincog:PLIFNode`")
        text = re.sub(rf"(?m)^(\| `{kind}` \| [^|]+ \| ).+ \|$", rf"\g<1>{', '.join(names)} |", text)
    return text


RESULTS = HERE.parent / "benchmarks" / "results"
RESULT_TABLE = re.compile(r"(<!-- table: (?P<what>[^\n]+?) -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def with_results(text: str, name: str) -> str:
    """A document with its tables of benchmark results made anew."""

    def table(match: re.Match[str]) -> str:
        try:
            return match[1] + "\n".join(["", *result_table(match["what"]), "", ""])
        except UserError as error:
            raise SystemExit(f"{name}: table: {match['what']}: {error}") from None

    return RESULT_TABLE.sub(table, text)


def result_table(what: str) -> list[str]:
    """The lines of the table that a comment asks for."""
    shown, *lists = [part.strip() for part in what.split(";")]
    source, kind, *of = shown.split() if " " in shown else (shown, "")
    folder, _, task = source.partition("/")
    file = RESULTS / folder / "results.json"
    if not file.exists():
        raise UserError(f"there are no results {folder!r} in benchmarks/results")
    tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"]
    only: dict[str, list[str]] = {"methods": [], "conditions" if task else "tasks": []}
    for part in lists:
        key, _, names = part.partition(":")
        _known(only, key.strip(), "list")
        only[key.strip()] = [name.strip() for name in names.split(",")]
    if not task:
        columns = {name: _known(tasks, name, "task") for name in only["tasks"]}
        if kind != "accuracy" or of:
            raise UserError("without a task there is only accuracy")
        for name in only["methods"]:
            _known({known: None for one in columns.values() for known in one["methods"]}, name, "method")
        return tables.by_task(columns, only["methods"])
    results = _known(tasks, task, "task")
    for key, chosen in only.items():
        for name in chosen:
            _known(results[key], name, key.removesuffix("s"))
    _known({**dict.fromkeys(TABLES), **METRICS}, kind, "table or metric")
    if len(of) != (kind == "versus"):
        raise UserError("write a METHOD after versus, and nothing after another table")
    if not (lines := tables.named(tables.chosen(results, **only), kind, *of)):
        raise UserError("the results have no such figures")
    return lines


TABLES = ("ranking", "accuracy", "alone", "worst", "costs", "contribution", "versus")


def _known(given: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in given:
        raise UserError(f"there is no {what} {name!r}{near(name, given)}; there are {', '.join(map(repr, given))}")
    return given[name]


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "/").split())


def run(check: bool) -> int:
    """Write the pages, or report those that differ from the code."""
    stale = []
    pages = {
        "docs/cli.md": cli_page(),
        "docs/components.md": components_page(),
        "docs/plugins.md": plugins_page(),
        "README.md": readme(),
    }
    for path in sorted([*HERE.glob("*.md"), *HERE.parent.glob("*.md"), *HERE.parent.glob("benchmarks/**/*.md")]):
        name = path.relative_to(HERE.parent).as_posix()
        text = pages.get(name) or path.read_text(encoding="utf-8")
        if name in pages or RESULT_TABLE.search(text):
            pages[name] = with_results(text, name)
    for name, text in pages.items():
        path = HERE.parent / name
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} is out of date: run python docs/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(run("--check" in sys.argv[1:]))
