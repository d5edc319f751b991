"""Errors as one line on standard error: which exceptions the user can fix, and what their messages say."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.errors import printable


def fail(message: str, code: int) -> NoReturn:
    """Print ``Error: message`` in one printable line and exit with ``code``."""
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(code)


_SIZES = "model.image_size, model.embed_dims or model.steps"
_SMALLER = {
    "build": f"reduce {_SIZES}",
    "train": f"reduce train.batch_size, train.workers, {_SIZES}",
    "eval": "close other programs, or reduce train.batch_size in the config.toml of the run",
    "data": "use fewer --workers, or reduce dataset.longest_sound or dataset.longest_video",
    "sweep": f"run fewer trials at once, or reduce train.batch_size, {_SIZES}",
    "bench": f"reduce the batch size, {_SIZES}",
}
"""What needs less memory, by command."""
_REMEDIES = {
    errno.EACCES: "change its permissions, or use another path",
    errno.EPERM: "change its permissions, or use another path",
    errno.EROFS: "use a path that can be written",
    errno.ENOSPC: "free space where files or the output go",
    errno.EDQUOT: "free space where files or the output go",
    errno.EMFILE: "allow more open files with ulimit -n",
}
"""What helps against errors of the operating system."""


def explain(error: BaseException, command: str = "") -> str | None:
    """A one-line message for an error with an external cause, or ``None`` for a bug in this program.

    External causes are a lack of memory, the end of another process, a plugin, and the operating system.
    """
    from scmrl_plugins.core.system.memory import out_of_memory

    if out_of_memory(error):
        return f"not enough memory: {_SMALLER.get(command, 'close other programs')}"
    if message := _other_process_ended(error):
        return message
    if "DataLoader worker (pid" in str(error):
        from scmrl_plugins.core.data.workers import died

        return died(error)
    if message := catalogue().culprit(error):
        return message
    if isinstance(error, OSError):
        what, remedy = error.filename or "system", _REMEDIES.get(error.errno or 0)
        return f"{what}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")
    return None


def _other_process_ended(error: BaseException) -> str | None:
    """The message if another process of a distributed training ended. That process reports the cause.

    A process that ``scmrl train --processes`` launched exits silently instead: its parent reports the cause.
    """
    from scmrl_plugins.core.parallel import launch

    if launch.count() == 1:
        return None
    from scmrl_plugins.core.parallel.processes import peer_failed

    if not peer_failed(error):
        return None
    if os.environ.get(launch.LAUNCHED):
        sys.exit(launch.PEER_FAILED)
    return "another process of this training ended; see its error message, then resume with scmrl train RUN"
