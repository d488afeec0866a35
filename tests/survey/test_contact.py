"""The contact sheet shows every value of every label, and the rest in proportion."""

from collections import Counter

from mobile_vla.survey.contact import choose_shown


def test_every_value_is_shown_and_the_rest_in_proportion(make_episode):
    episodes = [make_episode(f"{i:03}", direction="left" if i % 4 else "right", session=f"{i}") for i in range(200)]
    episodes += [make_episode("rare", direction="left", boxes="2box")]
    shown = choose_shown(episodes, 40)
    counts = Counter(episode.label("direction") for episode in shown)
    assert len(shown) == len({episode.id for episode in shown}) == 40
    assert "rare" in {episode.id for episode in shown}
    assert 28 <= counts["left"] <= 32
    assert [episode.id for episode in choose_shown(episodes[::-1], 40)] == [episode.id for episode in shown]
    spread = sorted(int(episode.id) for episode in shown if episode.id != "rare")
    assert spread[0] < 20
    assert spread[-1] > 180


def test_limits(make_episode):
    episodes = [make_episode(str(i), direction=str(i)) for i in range(5)]
    assert len(choose_shown(episodes, 60)) == 5
    assert len(choose_shown(episodes, 2)) == 2
    assert choose_shown(episodes, 0) == []
