"""Work in other processes through torch's ``DataLoader``, with errors raised here as they were raised there."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from scmrl_plugins.core.system.memory import out_of_memory
from scmrl_plugins.core.system.private import stop_workers
from scmrl_plugins.registry import Entry, UserError, catalogue
from scmrl_plugins.registry.errors import describe

Item = TypeVar("Item")
Result = TypeVar("Result")


class Guarded(torch.utils.data.Dataset):
    """A data set that returns a ``UserError`` as a value where a worker reads it.

    Raised there, torch would put the worker's traceback into the message. ``source``: the component that the data
    come from, for messages.
    """

    def __init__(self, data: Any, source: Entry) -> None:
        self.data, self.source = data, source

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.data[index]
        except UserError as error:
            refused = error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, even SystemExit
            if (message := blame(error, self.source)) is None:
                raise
            refused = UserError(message)
            refused.__cause__ = error
        if torch.utils.data.get_worker_info() is None:
            raise refused
        return refused


def blame(error: BaseException, source: Entry) -> str | None:
    """The message for an error of a plugin's data set, or of what it returned; none for one of the built-in."""
    if culprit := catalogue().culprit(error):
        same = culprit.startswith(str(source.plugin))
        return f"{source.kind} {source.name!r} of {culprit}" if same else f"{source}: {culprit}"
    if source.plugin.builtin or out_of_memory(error):
        return None
    return f"{source}: its samples cannot be used: {describe(error)}; {source.plugin.remedy}"


def unguarded(results: DataLoader[Any], source: Entry) -> Iterator[Any]:
    """The results of a loader of a ``Guarded`` data set; raises its errors, and one for a worker that died."""
    try:
        for result in results:
            if isinstance(result, UserError):
                raise result
            yield result
    except Exception as error:  # not GeneratorExit: the workers of a loader left early serve its next epoch
        stop_workers(results)
        if (message := died(error)) is None:
            raise
        raise UserError(f"{source}: {message}") from None


def died(error: BaseException) -> str | None:
    """The message if an error is torch's for a worker that died, which it may raise wherever this process is."""
    if not isinstance(error, RuntimeError) or "DataLoader worker (pid" not in str(error):
        return None
    reason = str(error).strip().splitlines()[0].rstrip(". ")
    return (
        f"a data loading process died: {reason}; if it ran out of memory, reduce the number of workers; the same "
        f"command resumes from there, and scmrl train RUN resumes a run"
    )


def start_worker(_number: int) -> None:
    """Let a worker ignore Ctrl-C, which the terminal sends to all processes: the main one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def first_error(results: Sequence[Any]) -> UserError | None:
    """The first error among the items that a ``Guarded`` data set returned for a batch."""
    return next((result for result in results if isinstance(result, UserError)), None)


def map_items(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, source: Entry
) -> Iterator[Result]:
    """``function(item)`` of every item, in order, computed by ``workers`` processes; by this one for 0.

    ``source``: the component that the items come from, for messages.
    """
    data, count = Guarded(_Calls(function, items), source), min(workers, len(items))
    if count:  # a forked process that frees a frame waits forever for FFmpeg's threads, which it does not have
        gc.collect()
    loader = DataLoader(data, batch_size=None, num_workers=count, worker_init_fn=start_worker)
    return unguarded(loader, source)


class _Calls(torch.utils.data.Dataset):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])
