"""Makes the next item in a thread while the one before is used.

In: an iterator. Out: the same items in the same order, and whatever it raises, at the item at which it raises it.
A thread lives for one item only, and begins when the item before is handed out: whoever stops taking items, for
whatever reason, leaves none behind but the one that ends by itself.
"""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator over the items of another, one item ahead."""

    def __init__(self, items: Iterator[T]):
        self._items = items
        self._coming: _Making[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._coming is None:
            self._coming = _Making(self._items)
        item = self._coming.wait()  # what interrupts this loses no item: the next call waits for it again
        self._coming = _Making(self._items)
        return item


class _Making(Generic[T]):
    """One item in the making."""

    def __init__(self, items: Iterator[T]):
        self._items = items
        self._device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="next item")
        self._thread.start()

    def wait(self) -> T:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._item

    def _make(self) -> None:
        if self._device is not None:
            torch.cuda.set_device(self._device)  # where memory is pinned; a thread begins with the first device
        try:
            self._item = next(self._items)
        except BaseException as error:
            self._error = error
