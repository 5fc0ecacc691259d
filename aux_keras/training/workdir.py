"""The folder of a run: what is in it, and how it is written so that no file is ever half there.

config.cfg       the resolved flagfile
metrics.jsonl    one JSON object per epoch
tensorboard/     the same as TensorBoard events
checkpoints/     model and optimizer, a folder per phase
model.keras      the trained model
result.json      the run in numbers; written last
"""

import contextlib
import json
import os
import pathlib
import shutil
import uuid

CONFIG, METRICS, MODEL, RESULT = "config.cfg", "metrics.jsonl", "model.keras", "result.json"


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that takes its place if the block succeeds."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"unfinished-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a text file in one piece, on disk before it is seen."""
    with replacing(path) as temporary, open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def open_workdir(config):
    """Creates the folder with its `config.cfg`, or checks that it belongs to this run.

    Args:
        config: `ExperimentConfig` with a `workdir`.

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: if no workdir is given, or it holds a run of another configuration.
        OSError: if it cannot be written.
    """
    if config.workdir is None:
        raise ValueError("`workdir` must be given: `--workdir=DIR`. Received: workdir=None")
    workdir = pathlib.Path(config.workdir)
    saved = workdir / CONFIG
    if not saved.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(saved, config.flagfile())
    theirs, ours = config.differences(saved.read_text())
    if theirs or ours:
        raise ValueError(
            f"`workdir` holds a run of another configuration: {workdir} has {' '.join(theirs)}, "
            f"this run {' '.join(ours)}. Choose another `--workdir`, or remove that one"
        )
    return workdir


def check_space(workdir, needed):
    """Raises an `OSError` if the disk cannot take `needed` bytes."""
    free = shutil.disk_usage(workdir).free
    if free < needed:
        raise OSError(
            f"`workdir` is on a full disk: {workdir} has {free >> 20} MiB left, and the "
            f"checkpoints of this run take {needed >> 20} MiB"
        )


def read_metrics(workdir):
    """Rows of `metrics.jsonl`, a list of dictionaries."""
    path = pathlib.Path(workdir) / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_metrics(workdir, rows):
    """Writes `metrics.jsonl`."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(pathlib.Path(workdir) / METRICS, text)
