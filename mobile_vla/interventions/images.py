"""Other pictures in the place of a window's frames: another episode's at the same progress, or one for all frames.

A `donor` (see `drawing`) shows a scene that a robot saw, so its effect says whether the image is used. One picture for
all frames (`blank`, `mean`) is unlike anything that the policy was trained on, and moves even a policy that has learnt
to ignore the scene: it tests whether the image is wired, not whether it is used.
"""

from collections.abc import Mapping
from dataclasses import replace

from mobile_vla.data.requests import Intervention, WindowRequest
from mobile_vla.data.stills import Still


def with_donors(donors: Mapping[int, int]) -> Intervention:
    """donors: index of an episode -> index of the episode whose frames it is shown."""

    def change(request: WindowRequest) -> WindowRequest | None:
        donor = donors.get(request.episode)
        return None if donor is None else replace(request, donor=donor)

    return change


def with_still(still: Still) -> Intervention:
    return lambda request: replace(request, still=still)
