"""Work in other processes through torch's ``DataLoader``, with errors raised here as they were raised there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from scmrl_plugins.registry import UserError, catalogue

Item = TypeVar("Item")
Result = TypeVar("Result")


class Guarded(torch.utils.data.Dataset):
    """A data set that returns a ``UserError`` as a value where a worker reads it.

    Raised there, torch would put the worker's traceback into the message.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        if torch.utils.data.get_worker_info() is None:
            return self.data[index]
        try:
            return self.data[index]
        except UserError as error:
            return error
        except Exception as error:
            culprit = catalogue().culprit(error)
            if culprit is None:
                raise
            return UserError(culprit)


def unguarded(results: DataLoader[Any]) -> Iterator[Any]:
    """The results of a loader of a ``Guarded`` data set; raises its errors."""
    for result in results:
        if isinstance(result, UserError):
            raise result
        yield result


def first_error(results: Sequence[Any]) -> UserError | None:
    """The first error among the items that a ``Guarded`` data set returned for a batch."""
    return next((result for result in results if isinstance(result, UserError)), None)


def map_items(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """``function(item)`` of every item, in order, computed by ``workers`` processes; by this one for 0."""
    data = Guarded(_Calls(function, items))
    return unguarded(DataLoader(data, batch_size=None, num_workers=min(workers, len(items))))


class _Calls(torch.utils.data.Dataset):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])
