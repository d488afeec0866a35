"""Settings that name no member are of the only one that there was."""

from mobile_vla.core.members import name_members


def test_unnamed_settings_are_named_and_others_kept():
    saved = {"seed": 1, "model": {"layout": "robovlms", "head": {"hidden": 8}}, "data": {"root": "x"}}
    named = name_members(saved)
    assert named["model"] == {"layout": "robovlms", "name": "kosmos2", "head": {"hidden": 8, "name": "lstm"}}
    assert named["data"] == {"root": "x", "source": {"name": "hdf5"}}
    assert saved["model"] == {"layout": "robovlms", "head": {"hidden": 8}}  # left as it was
    assert name_members(named) == named


def test_what_is_not_there_is_not_made_up():
    assert name_members({"seed": 1}) == {"seed": 1}


def test_a_name_that_is_there_stays():
    assert name_members({"model": {"name": "smolvlm", "head": {"name": "mlp"}}})["model"]["head"] == {"name": "mlp"}
