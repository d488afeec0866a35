"""Which sections there are, the most worth first: where the time ends, the last ones are those that are missing."""

from benchmarks.gpu.running import Section

FOLDER = "benchmarks.gpu.sections"


def _section(name: str, title: str, limit_s: float, least_s: float = 15.0) -> Section:
    return Section(name=name, title=title, module=f"{FOLDER}.{name}", limit_s=limit_s, least_s=least_s)


SECTIONS = (  # those that use one policy stand together: to make one takes as long as to measure it
    _section("machine", "The device", 60),
    _section("training", "A training step", 90, 30),
    _section("memory", "Memory", 90, 30),
    _section("control", "A control step", 60),
    _section("idle", "Where the time goes", 45),
    _section("graphs", "A training step as a CUDA graph", 45),
    _section("resumed", "fp16, killed and resumed", 90, 45),
    _section("equality", "Float32 equals the CPU", 75, 30),
    _section("memory_text", "Memory, where the text decoder alone is adapted", 75, 30),
    _section("cached", "Frozen parts from a cache", 60, 30),
    _section("marked", "Tests that need a GPU", 90, 30),
    _section("epochs", "Later epochs on cached contexts", 60, 30),
    _section("probing", "A probe with variants", 60, 30),
    _section("compiled", "Compiled layers", 150, 60),
)
