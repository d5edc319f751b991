"""The command line: one small module a command, imported when its command is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from scmrl_plugins import __version__
from scmrl_plugins.core.system.allocator import keep_large_blocks
from scmrl_plugins.core.system.memory import out_of_memory
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.errors import near

# Threads that wait should sleep: where another program wants the same cores, spinning ones make every small
# operation wait for a whole time slice. Torch reads this when it is imported, which no module here does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "build": "build",
    "train": "train",
    "eval": "evaluate",
    "predict": "predict",
    "demo": "demo",
    "plugins": "plugins",
    "check": "check",
    "new-plugin": "new_plugin",
    "data": "data",
    "bench": "bench",
    "report": "report",
    "sweep": "sweep",
}


class CommandGroup(click.Group):
    """Commands by name, loaded on use; every error the user can mend is one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            known = f"; commands are {', '.join(COMMANDS)}"
            raise UserError(f"no command {args[0]!r}{near(args[0], COMMANDS) or known}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            code = 0
        except click.exceptions.Abort:
            _fail("interrupted", 130)
        except click.ClickException as error:
            _fail(error.format_message(), 2)
        except UserError as error:
            _fail(str(error), 2)
        except BrokenPipeError:
            sys.stdout = None  # nobody reads: no second error when it is flushed
            sys.exit(1)
        except Exception as error:
            message = _explain(error)
            if message is None:
                raise
            _fail(message, 2)
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> str | None:
    """One line for what is not a mistake of this program, none for what is."""
    if out_of_memory(error):
        return (
            "not enough memory: make train.batch_size, model.image_size, model.embed_dims or model.steps smaller"
        )
    if told := _lost_another(error):
        return told
    if isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error):
        said = str(error).strip().splitlines()[0].rstrip(". ")
        return (
            f"a process that reads data died: {said}; if that was for want of memory, make train.workers smaller; "
            f"a run goes on from its last checkpoint with scmrl train RUN"
        )
    if culprit := catalogue().culprit(error):
        return culprit
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    return None


def _lost_another(error: Exception) -> str | None:
    """What to say where another process of a training has ended, which says why; nothing where we launched it."""
    from scmrl_plugins.core.parallel import launch

    if launch.count() == 1:
        return None
    from scmrl_plugins.core.parallel.processes import lost

    if not lost(error):
        return None
    if os.environ.get(launch.PARENT):
        sys.exit(launch.LOST)
    return "another process of this training has ended, which says why; go on with scmrl train RUN"


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(code)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="scmrl")
def main() -> None:
    """Assemble, train, measure and explain audio-visual spiking neural networks.

    Components come from plugins; `scmrl plugins` lists them.
    """
    keep_large_blocks()
