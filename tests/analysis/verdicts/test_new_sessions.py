"""A session that was left out, beside a fit without it; and no interval over few sessions."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.discriminative.decoding import PENALTY, Asked
from mobile_vla.analysis.verdicts.discriminative.new_sessions import score_sessions
from mobile_vla.analysis.verdicts.discriminative.verdict import judge_discriminative
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked

RIGOUR = Rigour(permutations=199, spikes=60, deals=4)


def in_sessions(number: int):
    sample, vectors, target = plant_asked(World(episodes=64, width=64, label=2.0))
    return replace(sample, session=np.arange(64) % number, sessions_known=True), vectors, target


def test_each_session_is_decoded_by_a_fit_to_the_others():
    sample, vectors, target = in_sessions(8)
    asked = Asked.of(sample, target, RIGOUR)
    means = sample.means(vectors)
    found = score_sessions(means, asked, sample.session)
    values = (means - means.mean(axis=0)) / means.std(axis=0) / np.sqrt(means.shape[1])
    for session in range(8):
        rest, here = sample.session != session, sample.session == session
        centre, wanted = values[rest].mean(axis=0), 2.0 * target.codes[rest] - 1
        gram = (values[rest] - centre).T @ (values[rest] - centre) + PENALTY * np.eye(values.shape[1])
        weights = np.linalg.solve(gram, (values[rest] - centre).T @ (wanted - wanted.mean()))
        right = ((values[here] - centre) @ weights > 0) == (target.codes[here] == 1)
        slow = np.mean([right[target.codes[here] == code].mean() for code in (0, 1)])
        assert found[session] == pytest.approx(slow)
    verdict, _ = judge_discriminative(sample, vectors, target, RIGOUR)
    row = verdict.details["new_session"]
    assert row["exploratory"]
    assert row["sessions"] == 8
    half = stats.t.ppf(0.95, 7) * found.std(ddof=1) / np.sqrt(8)
    assert row["ci"] == pytest.approx([max(found.mean() - half, 0), min(found.mean() + half, 1)])


def test_five_sessions_are_too_few():
    sample, vectors, target = in_sessions(5)
    row = judge_discriminative(sample, vectors, target, RIGOUR)[0].details["new_session"]
    assert row["accuracy"] is None
    assert "5 sessions hold every class; 6 are needed" in row["why"]
