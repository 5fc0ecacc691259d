"""The folder of a run: what is in it, and how it is written so that no file is ever half there.

lock             held by the process that is in the folder; nothing is in it
config.cfg       the resolved flagfile
metrics.jsonl    one JSON object per epoch
tensorboard/     the same as TensorBoard events
checkpoints/     model and optimizer, a folder per phase, a folder per checkpoint
model.keras      the trained model
saved_model/     its classifier for others, see `serving.endpoints`
figures/         curves, confusion, memory profiles, reconstructions
report.html      these on one page, with the flags
result.json      the run in numbers; written last
unfinished-*     being written; left by a killed run until the same command runs again
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import uuid
import zipfile

import filelock

CONFIG, METRICS, RESULT, LOCK = "config.cfg", "metrics.jsonl", "result.json", "lock"
MODEL, SAVED_MODEL = "model.keras", "saved_model"
FIGURES, REPORT = "figures", "report.html"
CHECKPOINTS = "checkpoints"
WRITTEN = (METRICS, MODEL, SAVED_MODEL, FIGURES, REPORT, RESULT)
GLOB = "*?[]\\"
HEX = "[0-9a-f]" * 32  # as a pattern


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that takes its place if the block succeeds."""
    temporary = unfinished(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        remove(temporary)


def unfinished(path):
    """A new name beside `path` of what is being written or removed; `create` clears such names."""
    path = pathlib.Path(path)
    return path.with_name(f"unfinished-{uuid.uuid4().hex}{path.suffix}")


def remove(path):
    """Removes a file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a text file in one piece, on disk before it is seen."""
    with replacing(path) as temporary:
        temporary.write_text(text)
        flush(temporary)


def flush(path):
    """Waits until a file is on disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def check(config):
    """The folder of a run, if it may be used: new, or begun by the same configuration.

    Args:
        config: `ExperimentConfig`.

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: if no workdir is given, TensorFlow could not find checkpoints in it, or it
            holds a run of another configuration.
    """
    if config.workdir is None:
        raise ValueError("`workdir` must be given: `--workdir=DIR`. Received: workdir=None")
    workdir = pathlib.Path(config.workdir).expanduser()
    if found := sorted(set(str(workdir.absolute())) & set(GLOB)):
        raise ValueError(
            f"`workdir` must not have {' '.join(found)} in its path, which TensorFlow takes for a "
            f"pattern when it looks for checkpoints. Received: workdir={config.workdir}"
        )
    if (workdir / CONFIG).exists():
        check_owner(workdir, config, read_text(workdir / CONFIG))
    elif not (workdir / CHECKPOINTS).exists():
        if found := [name for name in WRITTEN if (workdir / name).exists()]:
            raise ValueError(
                f"`workdir` must be a new folder, or that of a run: {workdir} has no {CONFIG}, but "
                f"{found[0]}, which would be replaced"
            )
    return workdir


def check_owner(workdir, config, flagfile):
    """Raises a `ValueError` if what is in `workdir` was made by another flagfile's text."""
    theirs, ours = config.differences(flagfile)
    if theirs or ours:
        raise ValueError(
            f"`workdir` holds a run of another configuration: {workdir} has "
            f"{' '.join(theirs)}, this run {' '.join(ours)}. Choose another `--workdir`, or "
            "remove that one"
        )


def read_text(path):
    """Contents of a file of UTF-8.

    Raises:
        ValueError: naming the file, if it is something else.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged; remove it and rerun. {error}") from error


def finished(workdir, saved_model):
    """The contents of `result.json` if the run is finished and nothing of it lost, else None.

    Args:
        workdir: its folder.
        saved_model: bool, whether it has a SavedModel.

    Raises:
        ValueError: if the file cannot be read.
    """
    names = (RESULT, MODEL, *((f"{SAVED_MODEL}/saved_model.pb",) if saved_model else ()))
    if not all((workdir / name).exists() for name in names):
        return None
    if not zipfile.is_zipfile(workdir / MODEL):  # cut short: its directory is at its end
        return None
    try:
        result = json.loads(read_text(workdir / RESULT))
        steps = result["steps"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{workdir / RESULT} is damaged; remove it and rerun. {error}") from error
    return result if steps == _steps_of_metrics(workdir) else None


def last_steps(rows):
    """The last step of each phase among rows of metrics, 0 if there is none."""
    return {"pretrain": 0, "train": 0} | {row["phase"]: row["step"] for row in rows}


def _steps_of_metrics(workdir):
    """The `last_steps` of `metrics.jsonl`, or None if it is lost or damaged."""
    try:
        rows = [json.loads(line) for line in read_text(workdir / METRICS).splitlines()]
        return last_steps(rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def create(workdir, config):
    """Writes `config.cfg` into a folder that is locked, unless it is there.

    Removes what a killed process left unfinished.

    Raises:
        ValueError: if another process has begun another run there since `check`.
        OSError: if it cannot be written.
    """
    check(config)
    for pattern in ("", f"{CHECKPOINTS}/*/", f"{FIGURES}/"):
        for path in list(workdir.glob(f"{pattern}unfinished-{HEX}*")):
            remove(path)
    if not (workdir / CONFIG).exists():
        try:
            write_text(workdir / CONFIG, config.flagfile())
        except OSError as error:
            raise OSError(f"`workdir` cannot be written: {error}") from error


@contextlib.contextmanager
def locked(workdir):
    """Makes a run's folder and keeps other processes out of it for as long as the block.

    The lock is on a file of its own, which nobody replaces: a lock on a file that another
    process replaces would not keep that one out.

    Raises:
        OSError: if another process is in it, or it cannot be written.
    """
    lock = filelock.FileLock(workdir / LOCK, timeout=0)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise OSError(f"`workdir` is in use by another process: {workdir}") from None
    except OSError as error:
        raise OSError(f"`workdir` cannot be written: {error}") from error
    try:
        yield
    finally:
        lock.release()


def check_space(workdir, needed):
    """Raises an `OSError` if the disk cannot take `needed` bytes."""
    free = shutil.disk_usage(workdir).free
    if free < needed:
        raise OSError(
            f"`workdir` is on a full disk: {workdir} has {free / 2**20:.1f} MiB left, and the "
            f"checkpoints and models of this run take {needed / 2**20:.1f} MiB"
        )


def json_number(value):
    """A number as a float, None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def write_metrics(workdir, rows):
    """Writes `metrics.jsonl`."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_text(pathlib.Path(workdir) / METRICS, text)
