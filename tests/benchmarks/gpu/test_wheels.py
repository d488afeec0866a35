"""What travels along: all that is needed, in the versions that work here, and nothing of torch's own."""

from importlib.metadata import version

from benchmarks.gpu.wheels import list_pins, read_needs


def names(pins):
    return {pin.split("==")[0].lower() for pin in pins}


def test_all_but_torch_is_needed_and_pinned_as_installed():
    pins = list_pins(read_needs(), "3.12")
    assert f"transformers=={version('transformers')}" in pins
    assert {"tokenizers", "lightning", "pytorch-lightning", "hydra-core", "h5py", "pytest"} <= names(pins)
    assert not names(pins) & {"torch", "sympy", "networkx", "triton", "mobile-vla"}
    assert not [name for name in names(pins) if name.startswith("nvidia")]
    assert len(names(pins)) == len(pins)


def test_what_is_there_stays_there_with_what_only_it_needs():
    whole, less = (names(list_pins(read_needs(), "3.12", there)) for there in ((), ("Matplotlib",)))
    assert "matplotlib" not in less
    assert "kiwisolver" in whole - less
    assert "numpy" in less


def test_what_another_python_needs_is_its_own():
    needs = ["one; python_version < '3.12'", "two; python_version >= '3.12'"]
    assert [list_pins(needs, python) for python in ("3.11", "3.12")] == [["one"], ["two"]]
