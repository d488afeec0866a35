"""What was found on a GPU, as a page: goals first, then section by section; what is missing says why.

In: findings, of as many sections as there are by now. Out: Markdown. Nothing is on it that was not measured.
"""

from collections.abc import Sequence

from benchmarks.gpu.findings import DONE, Findings, Note
from benchmarks.gpu.goals import GOALS, Verdict, judge
from benchmarks.gpu.running import Section
from benchmarks.table import format_table

COMMAND = """\
```
make gpu-wheels     # where there is a network: the packages that a bare machine with PyTorch lacks, into wheels/gpu
make gpu-check      # where the GPU is: measures within 8 minutes, and writes this page
```

`make gpu-wheels GPU_VERSION=3.12 GPU_THERE='numpy scipy'` fetches for that Python, and leaves out what is there;
`make gpu-check GPU_PYTHON=/path/to/python GPU_WORDS='training memory'` runs some of the sections with another Python.
"""
UNTRIED = """\
**No GPU has run this yet**: there are no numbers here. The same script runs with a tiny model on a CPU in the tests.
"""
SMALL = """\
**This is a trial with a tiny model, and says nothing about a GPU.**
"""
INTRODUCTION = """\
The full-size Kosmos-2 (1.66 billion parameters) with random weights, made on the device; windows of 8 frames, dealt in
spans as `data.span` says, a prompt of 14 tokens. Each number is written when it is there, and sections that the time
does not reach say so.

- **MFU** is the operations of a step over its time, as a share of the device's own peak. Counted are matrix products,
  convolutions, attention and the LSTM, forward and backward, each once; not what is done element by element. The peak
  is that of large bf16 products on random numbers, in the same run.
- **Upstream** is our reimplementation of RoboVLMs' step (`benchmarks/upstream_step.py`): float32, without TF32 in
  matrix products as is torch's default, one window, alone on the device.
- **Memory** in GB of 2^30 bytes, as cards are sold. What is taken of the device is what torch's allocator has reserved
  at most, and all that is outside it: the CUDA context. A smaller card is imitated by a limit on both.
- Steps run without the Trainer where nothing else is said: forward, backward, clipping, AdamW.
"""


def write_page(sections: Sequence[Section], found: Sequence[Findings], size: str | None, command: str = "") -> str:
    """size: `full`, `small`, or None where nothing has been measured;  command: that found it."""
    is_full = size != "small"
    parts = ["# On a GPU\n", COMMAND]
    if not found:
        parts.append(UNTRIED)
    elif not is_full:
        parts.append(SMALL)
    parts.append(INTRODUCTION)
    if command:
        parts.append(f"Found by `{command}`.\n")
    parts += ["## Goals\n", _table_of_goals(judge(GOALS, found, is_full))]
    by_name = {findings.name: findings for findings in found}
    for section in sections:
        if section.name in by_name:
            parts += [f"## {section.title}\n", *_describe(by_name[section.name])]
    missing = [section.title for section in sections if section.name not in by_name]
    if found and missing:
        parts.append(f"Not begun: {', '.join(missing)}.\n")
    return "\n".join(parts)


def _table_of_goals(verdicts: Sequence[Verdict]) -> str:
    rows = [("goal", "asked", "measured", "by", "")]
    for verdict in verdicts:
        goal = verdict.goal
        measured = "" if verdict.measured is None else f"{verdict.measured:.4g} {goal.unit}"
        rows.append((goal.what, f"{goal.side} {goal.bound:g} {goal.unit}", measured, verdict.by, verdict.word))
    rows.insert(1, ("---",) * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _describe(findings: Findings) -> list[str]:
    parts = [f"- {note.what}: {_plain(note.text)}" for note in findings.notes if isinstance(note, Note)]
    if parts:
        parts.append("")
    if findings.lines:
        parts += [format_table(findings.lines), ""]
    if findings.ended == DONE:
        parts.append(f"Took {findings.seconds:.0f} s.\n")
    else:
        parts.append(f"**{_plain(findings.ended or 'not done yet')}**\n")
    return parts


def _plain(text: str) -> str:
    """Within a line of Markdown."""
    return text.replace("|", "/").replace("*", "\\*").replace("`", "'")
