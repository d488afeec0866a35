"""How long a step lasts, as the files tell it; every number says where it comes from."""

import h5py
import numpy as np
import pytest

from mobile_vla.survey.clock import measure_steps
from tests.conftest import scan_folders


def measured(folder):
    return measure_steps(scan_folders(folder).episodes)


def test_no_file_tells(tmp_path, write_episode):
    write_episode(tmp_path / "a.h5", "v3")
    found, durations = measured(tmp_path)
    assert found is None
    assert len(durations) == 0


def test_by_duration_and_number_of_frames(tmp_path, write_episode):
    write_episode(tmp_path / "a.h5", "v3", 6, total_duration=2.4)
    write_episode(tmp_path / "b.h5", "v3", 6)
    found, durations = measured(tmp_path)
    assert durations.tolist() == pytest.approx([0.4])
    assert found is not None
    assert (found.source, found.episodes, found.steps, found.gaps) == ("total_duration", 1, 1, None)


def test_by_time_stamps_with_a_gap_and_a_step_back(tmp_path, write_episode):
    write_episode(tmp_path / "a.h5", "v5", 11)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["timestamps"][...] = [0, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0, 0.95, 1.05, 1.15, 1.25]
    found, durations = measured(tmp_path)
    assert found is not None
    assert (found.source, found.episodes, found.steps, found.backward) == ("timestamps", 1, 9, 1)
    assert found.median == pytest.approx(0.1)
    assert found.gaps == pytest.approx(1 / 9)
    assert durations.max() == pytest.approx(0.5)


def test_what_a_collector_noted_wrongly_costs_no_episode(tmp_path, write_episode):
    write_episode(tmp_path / "a.h5", "v3", 6, total_duration="soon")
    write_episode(tmp_path / "b.h5", "v3", 6, total_duration=0.0)
    write_episode(tmp_path / "c.h5", "v5", 6)
    with h5py.File(tmp_path / "c.h5", "a") as file:
        file["timestamps"][...] = np.nan
    assert measured(tmp_path)[0] is None
