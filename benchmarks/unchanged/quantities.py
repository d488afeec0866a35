"""What may differ between two codes, and by how much: one table, fixed before anything is rebuilt.

A value `<file>:<place>` belongs to the first quantity whose pattern is found in it. Texts, whole numbers, types, shapes
and missing or additional values must agree whatever the tolerance is; only floating-point numbers may differ by
`atol + rtol * |before|`. What may differ freely is named at the top, and nothing else is left out.
"""

import re
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """pattern  of `<file>:<place>`; sentences: only texts with a space
    rtol, atol  of floating-point numbers; both 0: bit by bit; infinite: any value, also of another type or shape
    follows     quantities whose bits these depend on (hashes): where those differ within their tolerance, these may
    """

    name: str
    pattern: str
    reason: str
    sentences: bool = False
    rtol: float = 0.0
    atol: float = 0.0
    follows: tuple[str, ...] = field(default=())

    @property
    def free(self) -> bool:
        return self.rtol == inf

    def holds(self, place: str, value: object) -> bool:
        if self.sentences and not (isinstance(value, str) and " " in value):
            return False
        return re.search(self.pattern, place) is not None


# float32 has 24 bits: one rounding is 6e-8 of a number. Sums of many numbers differ by some roundings of the largest,
# however small the result is: hence `atol` beside `rtol`. Each is some times what the same code gives with two threads,
# which add in another order in every layer and at every step ("two threads: ..." below is the largest difference);
# another seed or another factor moves the same numbers by 1e-3 and more.
RTOL = 1e-6
QUANTITIES = (
    Quantity(
        name="time, speed and memory",
        pattern=r":(.*\.)?(seconds|windows_per_s|data_wait_share|memory_bytes|peak_bytes|began)$|:speed/|machine\.json:(.*\.)?at$",
        rtol=inf,
        reason="measured",
    ),
    Quantity(
        name="machine, versions and commit",
        pattern=r"machine\.json:(resumed\[\d+\]\.)?(mobile_vla|python|packages|platform|host|cpus|threads|gpus|cuda|git)"
        r"(\.|$)|:(mobile_vla\.)?version$",
        rtol=inf,
        reason="of the package and what it ran on; checkouts differ",
    ),
    Quantity(
        name="sizes of some files",
        pattern=r"(inspect|train|eval|probe)\.json:(.*\.)?(checkpoint_bytes|bytes)$|manifest\.json:.*parquet\.bytes$"
        r"|export\.json:bytes\.(context_metadata\.json|README\.md|\.lock)$",
        rtol=inf,
        reason="they change with a digit; what the files hold is compared by itself",
    ),
    Quantity(
        name="pictures and pages",
        pattern=r"\.(png|html|tsv|pbtxt)$",
        reason="that each is there; how they look may change, and the numbers in them are compared elsewhere",
    ),
    Quantity(
        name="exit codes and messages",
        pattern=r"said\.json:",
        reason="what users and scripts read; reworded on purpose: --accept",
    ),
    Quantity(name="synthetic episodes", pattern=r"^(flat|jpeg)/", reason="drawn from a seed, nothing is summed"),
    Quantity(
        name="packed frames", pattern=r"mobile_vla/frames/", reason="whole numbers, named by what they were made of"
    ),
    Quantity(
        name="episodes and splits", pattern=r"split\.json:|episodes\.json:|faults\.json:", reason="drawn from a seed"
    ),
    Quantity(
        name="settings",
        pattern=r"config\.(yaml|json):|:(.*\.)?(settings|config|configuration)\.",
        reason="defaults and names are what a run is repeated with",
    ),
    Quantity(
        name="hashes of weights and vectors",
        pattern=r":(.*\.)?fingerprints\.(trained|context_.*)$|\.sha256$|rows\.parquet:fingerprint$",
        reason="they follow the bits of what they are made of",
        follows=("weights", "optimizer", "vectors and predictions"),
    ),
    Quantity(
        name="sentences in findings",
        pattern=r"^(?!arrays/context_metadata)",
        sentences=True,
        reason="what users read; reworded on purpose: --accept",
    ),
    Quantity(
        name="verdicts",
        pattern=r"compare\.json:.*\.(verdict|at_half|at_double|beaten|target|unit|n|n_needed)$",
        reason="an answer is the same or it is not",
    ),
    Quantity(
        name="numbers of comparisons",
        pattern=r"compare\.json:|compare/events",
        rtol=RTOL,
        atol=5e-5,
        reason="statistics in float64 of float32 vectors; two threads: 1.6e-5, of a p-value",
    ),
    Quantity(
        name="statistics of data",
        pattern=r"^(stats|pack)/",
        rtol=RTOL,
        atol=1e-9,
        reason="sums in float64, of another order perhaps",
    ),
    Quantity(
        name="losses and metrics",
        pattern=r"metrics\.csv:|(train|eval|probe|runs)\.json:|events\.out",
        rtol=RTOL,
        atol=1e-6,
        reason="means in float32; effects are quotients of two of them; two threads: 1e-6 of a number",
    ),
    Quantity(
        name="optimizer",
        pattern=r"\.ckpt:optimizer_states.*\.exp_avg",
        rtol=RTOL,
        atol=1e-7,
        reason="running means of gradients, sums in float32; two threads: 2e-9",
    ),
    Quantity(
        name="weights",
        pattern=r"\.ckpt:(state_dict|optimizer_states)|\.safetensors:|\.(ckpt|safetensors)$",
        rtol=RTOL,
        atol=1e-6,
        reason="by name and shape; each step adds a quotient of sums in float32; two threads: 3e-7",
    ),
    Quantity(
        name="checkpoints: all but weights",
        pattern=r"\.ckpt:",
        rtol=RTOL,
        atol=1e-6,
        reason="positions, actions, preprocessing; scores of checkpoints are losses",
    ),
    Quantity(
        name="vectors and predictions",
        pattern=r"\.npy(:|$)|rows\.parquet:predicted|features/|context_metadata\.json:.*\.predicted",
        rtol=RTOL,
        atol=1e-4,
        reason="outputs of layers in float32, entries of size 1 to 50; two threads: 4e-5",
    ),
    Quantity(
        name="stores: rows, plan, labels",
        pattern=r"manifest\.json|rows\.(parquet|json)|context_metadata\.json",
        reason="identities; recorded actions are copied",
    ),
    Quantity(
        name="doctor",
        pattern=r"doctor\.json",
        rtol=5e-6,
        atol=1e-5,
        reason="the largest outputs, and differences between outputs, in float32; two threads: 7e-5 of 50",
    ),
    Quantity(
        name="inspect, import, export",
        pattern=r"(inspect|import|export|head)\.json|^(export|imported|acted)/",
        rtol=RTOL,
        atol=1e-6,
        reason="names, counts, tokenizers, the Python API; how far weights moved (two threads: 2e-7)",
    ),
    Quantity(name="everything else", pattern=r"", reason="not foreseen, so bit by bit"),
)


def find_quantity(place: str, value: object) -> Quantity:
    return next(one for one in QUANTITIES if one.holds(place, value))
