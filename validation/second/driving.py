"""What drivers do and what a policy predicts: chunks of several steps, masked where the episode ends. numpy only.

    action = course of its text over progress + deviation,   deviation = sqrt(seen) u + sqrt(1 - seen) w

u is what the scene tells at a frame, w is not in any picture. A policy predicts the course that it takes the text for,
and of the deviation what can be known of it from u.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from validation.second.recordings import Recordings

STEPS, COMPONENTS = 4, ("linear_x", "angular_z")
EPISODE_SHARE, CORRELATION = 0.5, 0.95  # of the deviations
JITTER = 0.02  # of every predicted value


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """chunk  (N, C, A) what was done, NaN after the end;  scene  (N, A) u at the row's frame
    course  (T, N, C, A) of each text at each row;  text  (E,) which was given
    """

    chunk: Float[np.ndarray, "N C A"]
    scene: Float[np.ndarray, "N A"]
    course: Float[np.ndarray, "T N C A"]
    text: Int[np.ndarray, " E"]
    seen: float

    def predict(
        self,
        rng: np.random.Generator,
        texts: Float[np.ndarray, "N T"],
        scene: Float[np.ndarray, "N A"],
        jitter: float = JITTER,
    ) -> Float[np.ndarray, "N C A"]:
        """texts  weights of the courses that it follows;  scene  what it is shown; what is known of the deviation at
        later steps fades as its autocorrelation does."""
        course = np.einsum("nt,tnca->nca", texts, self.course)
        known = np.sqrt(self.seen) * fade()[None, :, None] * scene[:, None]
        return course + known + jitter * rng.standard_normal(course.shape)


def fade() -> Float[np.ndarray, " C"]:
    """Correlation of a deviation with itself so many steps later."""
    return EPISODE_SHARE + (1 - EPISODE_SHARE) * CORRELATION ** np.arange(STEPS)


def drive(
    of: Recordings,
    rng: np.random.Generator,
    text: Int[np.ndarray, " E"],
    courses: Float[np.ndarray, "T 2"],
    *,
    held: float = 0.0,
    sd: float = 1.0,
    speed: Float[np.ndarray, " E"] | None = None,
) -> Drive:
    """text     (E,) which of T texts each episode was given
    courses  how strong each text's course is in the two components
    held     share of the chunk's variance about its course that the scene at the row's frame explains
    sd       of the deviations;  speed  (E,) factor on each course
    """
    longest = int(of.length.max()) + STEPS
    u, w = (_walk(of.num, longest, rng) for _ in range(2))
    seen = min(held / float((fade() ** 2).mean()), 1.0)
    deviation = sd * (np.sqrt(seen) * u + np.sqrt(1 - seen) * w)
    step = of.frame[:, None] + np.arange(STEPS)  # (N, C)
    progress = np.minimum(step / (of.length[of.episode] - 1)[:, None], 1.0)
    shape = np.stack([1.2 - progress**2, np.sin(np.pi * progress)], axis=-1)  # (N, C, A)
    factor = (np.ones(of.num) if speed is None else speed)[of.episode][:, None, None]
    course = np.stack([factor * shape * strengths for strengths in courses])  # (T, N, C, A)
    own = course[text[of.episode], np.arange(len(of.episode))]
    chunk = own + deviation[of.episode[:, None], step]
    chunk[step >= of.length[of.episode][:, None]] = np.nan
    return Drive(chunk=chunk, scene=sd * u[of.episode, of.frame], course=course, text=text, seen=seen)


def sides(num: int, rng: np.random.Generator, texts: int = 2) -> tuple[Int[np.ndarray, " E"], Float[np.ndarray, "T 2"]]:
    """Which text each of `num` episodes is given, evenly; and the courses: from left to right, at several speeds."""
    speeds = np.linspace(0.8, 1.2, texts) if texts == 2 else rng.permutation(np.linspace(0.4, 1.6, texts))
    return rng.permutation(np.arange(num) % texts), np.stack([speeds, np.linspace(-1.5, 1.5, texts)], axis=1)


def _walk(num: int, steps: int, rng: np.random.Generator) -> Float[np.ndarray, "E L A"]:
    """Episode effect and AR(1), standard deviation 1."""
    values = rng.standard_normal((num, steps, len(COMPONENTS)))
    for step in range(1, steps):
        values[:, step] = CORRELATION * values[:, step - 1] + np.sqrt(1 - CORRELATION**2) * values[:, step]
    between = rng.standard_normal((num, 1, len(COMPONENTS)))
    return np.sqrt(EPISODE_SHARE) * between + np.sqrt(1 - EPISODE_SHARE) * values
