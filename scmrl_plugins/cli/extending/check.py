from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from scmrl_plugins.cli.common import completion, options, output
from scmrl_plugins.registry import UserError, catalogue

if TYPE_CHECKING:
    from scmrl_plugins.testing import Result, Subject


@click.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completion.components())
@click.option("--all", "everything", is_flag=True, help="Check every installed component.")
@click.option("--package", metavar="DIST", help="Check all components of a distribution or plugin.")
@click.option(
    "--compiler",
    metavar="BACKEND",
    default="aot_eager",
    help="Backend of torch.compile; inductor is slower and requires a C++ compiler.",
)
@options.plugin
@options.json
def command(names: tuple[str, ...], everything: bool, package: str | None, compiler: str, as_json: bool) -> None:
    """Run the conformance checks on components.

    Exits with 1 if a check fails. docs/plugins.md describes every check.
    """
    if not (names or everything or package):
        raise UserError("nothing to check: give a component name, --package DIST or --all")
    from scmrl_plugins.testing import Subject, subjects

    if everything:
        chosen = [Subject(entry, compiler=compiler) for entry in catalogue().entries]
    else:
        chosen = subjects(*names, package=package, compiler=compiler)
    results = _run(chosen, quiet=as_json)
    count = Counter(result.outcome for result in results)
    if as_json:
        totals = {outcome: count[outcome] for outcome in ("passed", "failed", "skipped")}
        output.document({**totals, "checks": [asdict(result) for result in results]})
    else:
        click.echo(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    if count["failed"]:
        click.get_current_context().exit(1)


def _run(chosen: Iterable[Subject], quiet: bool) -> list[Result]:
    """Run all checks of the subjects and print the results of each as soon as it is finished."""
    from scmrl_plugins.testing import run_checks

    results = []
    for subject in chosen:
        subject_results = list(run_checks(subject))
        results += subject_results
        if quiet:
            continue
        passed = sum(result.outcome == "passed" for result in subject_results)
        click.echo(f"{subject.entry}: {passed} of {len(subject_results)} checks passed")
        for result in subject_results:
            if result.outcome != "passed":
                click.echo(f"  {result.outcome} {result.check}: {result.reason}")
    return results
