"""A signal waits for the end of what is at hand, a second one does not, and handlers are put back."""

import os
import signal
import threading

import pytest

from mobile_vla.core.errors import Interrupted
from mobile_vla.core.signals import SIGNALS, hold_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_is_noted_and_acts_where_it_is_asked_for(number, code):
    before, said, ended = [signal.getsignal(one) for one in SIGNALS], [], []

    def work():
        with hold_signals("this pass", "rows stay", said.append) as leave_if_asked:
            leave_if_asked()
            os.kill(os.getpid(), number)
            ended.append("this pass")
            leave_if_asked()
            ended.append("the next")

    with pytest.raises(Interrupted, match=f"^stopped by {number.name}; rows stay$") as stopped:
        work()
    assert ended == ["this pass"]
    assert said == [f"{number.name}: stopping after this pass; once more to stop at once"]
    assert (stopped.value.exit_code, stopped.value.at_once) == (code, False)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_second_one_acts_at_once():
    def work():
        with hold_signals("this pass", "rows stay", lambda line: None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("went on")

    with pytest.raises(Interrupted, match="stopped by a second SIGTERM; rows stay") as stopped:
        work()
    assert (stopped.value.exit_code, stopped.value.at_once) == (143, True)


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone():
    found = []

    def work():
        with hold_signals("this pass", "rows stay") as leave_if_asked:
            leave_if_asked()
            found.append([signal.getsignal(one) for one in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[signal.getsignal(one) for one in SIGNALS]]
