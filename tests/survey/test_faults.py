"""Faults by kind."""

from mobile_vla.sources.schema import Fault
from mobile_vla.survey.faults import sort_faults


def test_numbers_make_no_other_kind():
    faults = [Fault("c", "is empty"), Fault("a", "truncated: 10 of 20 bytes"), Fault("b", "truncated: 7 of 9 bytes")]
    kinds = sort_faults(faults)
    assert [(kind.reason, [fault.file for fault in kind.faults]) for kind in kinds] == [
        ("truncated: 10 of 20 bytes", ["a", "b"]),
        ("is empty", ["c"]),
    ]
