"""The same items, one ahead: their order, their errors, and no thread that outlives what it is for."""

import threading
import time

import pytest

from mobile_vla.core.ahead import Ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "next item"]


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def test_items_come_in_order_and_end_as_often_as_asked():
    ahead = Ahead(iter(range(20)))
    assert list(ahead) == list(range(20))
    with pytest.raises(StopIteration):
        next(ahead)


def test_the_next_item_and_no_more_is_made_while_one_is_used():
    made = []

    def items():
        for number in range(5):
            made.append((number, threading.current_thread() is threading.main_thread()))
            yield number

    ahead = Ahead(items())
    assert made == []
    next(ahead)
    assert wait_until(lambda: len(made) == 2)
    assert wait_until(lambda: not threads())
    assert made == [(0, False), (1, False)]


def test_an_error_comes_at_its_item_with_its_own_traceback():
    def fails(number):
        raise ValueError(f"no item {number}")

    ahead = Ahead(fails(number) if number == 2 else number for number in range(4))
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(ValueError, match="no item 2") as caught:
        next(ahead)
    assert "fails" in [entry.name for entry in caught.traceback]


def test_whoever_stops_taking_leaves_no_thread():
    release = threading.Event()

    def items():
        yield 0
        release.wait(5)
        yield 1
        yield 2

    ahead = Ahead(items())
    next(ahead)
    assert len(threads()) == 1
    release.set()
    assert wait_until(lambda: not threads())


def test_an_interrupted_wait_loses_no_item(monkeypatch):
    ahead = Ahead(iter(range(4)))
    assert next(ahead) == 0
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(ahead)
    assert list(ahead) == [1, 2, 3]


def interrupt(*_):
    raise KeyboardInterrupt
