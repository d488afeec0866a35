"""`--help`, from the configuration files as text: no Hydra, nothing heavy.

In: commands and the folder of configuration files. Out: text. The settings are shown as they are typed, dotted,
with their defaults and with the comments that stand beside or above them in the files.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mobile_vla.jobs.command import Command

FLAGS = """\
  --cfg job             print the composed configuration and stop
  --multirun, -m        sweep: key=1,2 runs both, one after the other
  --config-dir <folder> search configuration files there too"""


def format_overview(commands: Sequence[Command]) -> str:
    """What `mobile-vla` alone prints."""
    width = max(len(command.name) for command in commands)
    lines = ["usage: mobile-vla <command> key=value ...", "", "commands:"]
    lines += [f"  {command.name:<{width}}  {command.summary}" for command in commands]
    lines += ["", "examples:"]
    lines += [f"  {command.examples[0]}" for command in commands if command.examples]
    lines += ["", "`mobile-vla <command> --help` lists its settings; `--version` says which version this is."]
    return "\n".join(lines)


def format_help(command: Command, conf: Path) -> str:
    """What `mobile-vla <command> --help` prints."""
    lines = [f"usage: mobile-vla {command.name} key=value ...", "", command.summary, ""]
    if command.examples:
        lines += ["examples:", *(f"  {example}" for example in command.examples), ""]
    main = conf / f"{command.name}.yaml"
    chosen = dict(find_groups(main, conf))
    if chosen:
        lines.append("groups (group=option; * is the default):")
        width = max(map(len, chosen))
        for group, default in chosen.items():
            options = sorted(file.stem for file in (conf / group).glob("*.yaml"))
            marked = [f"{option}*" if option == default else option for option in options]
            lines.append(f"  {group:<{width}}  {', '.join(marked) or '(none)'}")
        lines.append("")
    rows = [(key, value, comment) for key, value, comment in list_settings(main, "")]
    for group, default in chosen.items():
        if default and (conf / group / f"{default}.yaml").is_file():
            rows += list_settings(conf / group / f"{default}.yaml", group.replace("/", "."))
    if rows:
        lines.append("settings (key=value; these are the defaults):")
        width = min(max(len(f"{key}={value}") for key, value, _ in rows), 44)
        for key, value, comment in rows:
            lines.append(f"  {f'{key}={value}':<{width}}  {comment}".rstrip())
        lines.append("")
    lines += ["flags:", FLAGS]
    return "\n".join(lines)


def find_groups(file: Path, conf: Path) -> Iterator[tuple[str, str | None]]:
    """The groups in a file's defaults list, and in those of its default options: name, default option."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    entries = content.get("defaults", []) if isinstance(content, dict) else []
    for entry in entries or []:
        if not isinstance(entry, dict):
            continue
        for key, option in entry.items():
            words = str(key).split()
            if "override" in words:
                continue
            name = words[-1].partition("@")[0]
            here = file.parent.relative_to(conf).as_posix()
            group = name.strip("/") if name.startswith("/") or here == "." else f"{here}/{name}"
            if group == "hydra" or group.startswith("hydra/"):
                continue
            default = option.removesuffix(".yaml") if isinstance(option, str) and option != "???" else None
            yield group, default
            if default:
                yield from find_groups(conf / group / f"{default}.yaml", conf)


def list_settings(file: Path, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Dotted key, default and comment of every setting of a file, in its order."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    package = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    if package:
        prefix = "" if package[1] == "_global_" else package[1]
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        yield from _walk(root, prefix, text.splitlines())


def _walk(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = str(key.value)
        if name in ("defaults", "hydra") and node.start_mark.column == 0:
            continue
        dotted = f"{prefix}.{name}" if prefix else name
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _walk(value, dotted, lines)
        else:
            yield dotted, _read_default(value), _find_comment(key, value, lines)


def _read_default(value: Any) -> str:
    if isinstance(value, yaml.SequenceNode):
        return f"[{','.join(_read_default(part) for part in value.value)}]"
    if isinstance(value, yaml.MappingNode):
        return "{" + ",".join(f"{part.value}:{_read_default(what)}" for part, what in value.value) + "}"
    return "null" if value.value == "" and value.style is None else " ".join(str(value.value).split())


def _find_comment(key: Any, value: Any, lines: list[str]) -> str:
    beside = lines[value.end_mark.line][value.end_mark.column :] if value.end_mark.line < len(lines) else ""
    match = re.match(r"\s*#\s?(.*)", beside)
    if match and value.end_mark.line == value.start_mark.line:
        return match[1].strip()
    above: list[str] = []
    row = key.start_mark.line - 1
    while row >= 0 and lines[row].strip().startswith("#") and not lines[row].strip().startswith("# @package"):
        above.insert(0, lines[row].strip().lstrip("#").strip())
        row -= 1
    return " ".join(above)
