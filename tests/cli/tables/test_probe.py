"""What a probe stored, told so that it fits on a screen."""

from mobile_vla.cli.tables.probe import rows_of_probe


def test_blocks_of_image_tokens_are_told_together():
    blocks = {f"mask_tokens_{first:02d}-{first + 1:02d}": 20 for first in range(0, 64, 2)}
    found = {
        "rows": 680,
        "rows_computed": 680,
        "episodes": 4,
        "parts": {"validation": 680},
        "variants": {**blocks, "own": 20, "swap": 20},
        "bytes": 10**6,
        **{name: {} for name in ("description", "before_description", "drift", "change")},
        "windows_per_s": None,
        "notes": [],
    }
    assert dict(rows_of_probe(found))["variants"] == "20 own, 20 swap, 640 of 32 mask_tokens"
