"""One thing is told as one."""

import pytest

from mobile_vla.core.plural import plural


@pytest.mark.parametrize(("number", "told"), [(0, "0 episodes"), (1, "1 episode"), (2, "2 episodes")])
def test_only_one_is_singular(number, told):
    assert plural(number, "episode") == told
