"""The command line. Each command is a separate module, imported when the command runs."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from scmrl_plugins import __version__
from scmrl_plugins.cli.common import completion, errors
from scmrl_plugins.cli.common.errors import fail
from scmrl_plugins.core.system.allocator import keep_large_blocks
from scmrl_plugins.core.system.compiler import writable_cache
from scmrl_plugins.core.system.interrupts import Interrupted
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near, printable

# Idle threads should sleep. Spinning threads compete with other programs for the cores, and each small operation
# then waits for a full time slice. Torch reads this variable at import, which happens later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_TALKATIVE = ("torch.utils.cpp_extension", "matplotlib")
"""Loggers that warn of what does not concern the user, such as a missing CUDA runtime or a cache of fonts."""

COMMANDS = {
    "build": "build",
    "train": "train",
    "eval": "evaluate",
    "predict": "predict",
    "demo": "demo",
    "plugins": "extending.plugins",
    "check": "extending.check",
    "new-plugin": "extending.new_plugin",
    "examples": "examples",
    "data": "data",
    "bench": "bench",
    "explain": "explain",
    "profile": "profile",
    "export": "sharing.export",
    "import": "sharing.import_",
    "push": "sharing.push",
    "sweep": "sweep",
    "serve": "serve",
}


class CommandGroup(click.Group):
    """Commands by name, imported on use. An error that the user can fix is one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        unknown = args and args[0] not in COMMANDS and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # as in completion
            commands = f"; commands are {', '.join(COMMANDS)}"
            raise UserError(f"no command {args[0]!r}{near(args[0], COMMANDS) or commands}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("args")
        kwargs |= {"standalone_mode": False, "obj": sys.argv[1:] if given is None else list(given)}
        _open_closed_streams()
        _name_the_line_of_a_crash()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            code = 0
        except click.exceptions.Abort as error:
            known = isinstance(error.__cause__, Interrupted)
            if known and not str(error.__cause__):
                sys.exit(130)
            fail(f"interrupted; {error.__cause__}" if known else "interrupted", 130)
        except click.NoSuchOption as error:
            nearest = near(error.option_name, error.possibilities or ())
            fail(f"no option {error.option_name!r}{nearest or '; --help lists the options'}", 2)
        except click.ClickException as error:
            fail(error.format_message(), 2)
        except UserError as error:
            fail(str(error), 2)
        except BrokenPipeError:
            sys.stdout = None  # the reader is gone; flushing would raise again
            sys.exit(1)
        except (Exception, SystemExit) as error:
            message = errors.explain(error, next((word for word in kwargs["obj"] if word in COMMANDS), ""))
            if message is None:
                raise
            fail(message, 2)
        sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Give standard streams that were closed (``2>&-``) somewhere to go, and all an escape for any character."""
    for name in ("stdout", "stderr"):
        if vars(sys)[name] is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it stays open, as they do
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _name_the_line_of_a_crash() -> None:
    """Print the Python code that runs when a signal ends the process, as a fault in a plugin's C code does."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error is no file
            faulthandler.enable(all_threads=False)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, "-V", "--version", prog_name="scmrl")
@click.option(
    "--install-completion",
    metavar="[SHELL]",
    is_flag=False,
    flag_value="",
    is_eager=True,
    expose_value=False,
    callback=completion.install,
    help="Install completion in your shell, or in bash, zsh or fish, and exit.",
)
def main() -> None:
    """Build, train and evaluate audio-visual spiking neural networks.

    Components come from plugins; `scmrl plugins` lists them.
    """
    keep_large_blocks()
    if line := writable_cache():
        click.echo(f"warning: {printable(line)}", err=True)
