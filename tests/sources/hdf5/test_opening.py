"""What is there instead of an HDF5 file, in words; the zoo holds the cases, here is what no file shows."""

import errno

import h5py
import pytest

from mobile_vla.sources.hdf5.opening import open_file, reading
from mobile_vla.sources.schema import BrokenEpisode, printable


def failing(code):
    def fail(*_, **__):
        raise OSError(code, "from far below")

    return fail


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_machine_lacks_is_not_the_files_fault(tmp_path, write_episode, monkeypatch, code):
    path = write_episode(tmp_path / "a.h5")
    monkeypatch.setattr(h5py, "File", failing(code))
    with pytest.raises(OSError, match="from far below"):
        open_file(path)
    with pytest.raises(OSError, match="from far below"), reading():
        failing(code)()


def test_any_other_error_is(tmp_path, write_episode, monkeypatch):
    path = write_episode(tmp_path / "a.h5")
    monkeypatch.setattr(h5py, "File", failing(errno.EIO))
    with pytest.raises(BrokenEpisode, match=r"^cannot be opened: input/output error$"):
        open_file(path)
    with pytest.raises(BrokenEpisode, match=r"^cannot be read: .*from far below$"), reading():
        failing(errno.EIO)()


def test_a_reason_of_ones_own_is_kept():
    with pytest.raises(BrokenEpisode, match=r"^grey frames$"), reading():
        raise BrokenEpisode("grey frames")


@pytest.mark.parametrize(("text", "expected"), [("상자.h5", "상자.h5"), ("a\udcbb\udcf3.h5", r"a\xbb\xf3.h5")])
def test_names_are_text_that_can_be_written(text, expected):
    assert printable(text) == expected
    assert printable(text).encode()
