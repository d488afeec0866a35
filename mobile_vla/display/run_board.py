"""A folder for TensorBoard: runs under names of one's own choosing, and its HParams table made for comparing them.

In: names and folders of runs, and their settings. Out: one link a run, so that nothing is copied or written into a run
and what a run logs later is seen too; and an events file in the folder itself. Each run declares columns of its own for
the HParams table, and TensorBoard takes those of the first: the file declares the settings in which these runs differ,
and the numbers that they are compared by. It holds no values: in the legend it is the empty run `.`.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from mobile_vla.display.scalars import COMPARED, HPARAMS

MOST_CHOICES = 8  # that are boxes to tick; of more numbers, a least and a largest one is asked for
SHOWN = 5  # settings, where the runs differ in none


def lay_out(folder: Path, links: Mapping[str, Path], settings: Sequence[Mapping[str, Any]]) -> None:
    """links: name -> folder of a run, or of a probe. settings: of each run, by their dotted names."""
    for name, target in links.items():
        (folder / name).symlink_to(target.resolve(), target_is_directory=True)
    experiment = api_pb2.Experiment(
        hparam_infos=choose_columns(settings),
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in COMPARED],
    )
    told = metadata.create_summary_metadata(HParamsPluginData(experiment=experiment))
    value = Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=told, tensor=metadata.NULL_TENSOR)
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=[value])))
    writer.close()


def choose_columns(settings: Sequence[Mapping[str, Any]]) -> list[api_pb2.HParamInfo]:
    """The settings in which the runs differ; the first few where they differ in none that is logged."""
    known = [name for name in HPARAMS if any(name in run for run in settings)]
    differing = [name for name in known if len({str(run.get(name)) for run in settings}) > 1]
    values = {name: [run[name] for run in settings if name in run] for name in known}
    return [_describe(name, values[name], differs=name in differing) for name in differing or known[:SHOWN]]


def _describe(name: str, values: Sequence[Any], differs: bool) -> api_pb2.HParamInfo:
    """As the runs log it: numbers and truth values as they are, all else as text."""
    distinct = sorted({value if isinstance(value, int | float) else str(value) for value in values}, key=str)
    kinds = {"bool" if isinstance(one, bool) else "text" if isinstance(one, str) else "number" for one in distinct}
    info = api_pb2.HParamInfo(name=name, differs=differs)
    if kinds == {"number"}:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        if len(distinct) <= MOST_CHOICES:
            info.domain_discrete.extend(distinct)
    elif kinds == {"bool"}:
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(distinct)
    else:
        info.type = api_pb2.DATA_TYPE_STRING
        if kinds == {"text"}:
            info.domain_discrete.extend(distinct)
    return info
