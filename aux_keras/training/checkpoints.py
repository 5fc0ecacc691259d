"""Step-exact checkpoints: a folder each, which is there whole or not at all.

`ckpt-N/` comes after N steps of its phase. It holds weights, optimizer, the running metrics of an
unfinished epoch, and a record: the configuration that it belongs to and the metrics of every epoch
before it.
"""

import json
import os
import pathlib
import time

import keras
import tensorflow as tf

from aux_keras.training import workdir as folder
from aux_keras.training.cluster import Workers
from aux_keras.training.signals import Signals

KEPT = 2
# What TensorFlow raises of a damaged file depends on where it is damaged.
DAMAGED = (tf.errors.OpError, AssertionError, IndexError, ValueError, RuntimeError)
RECORD = "record/.ATTRIBUTES/VARIABLE_VALUE"  # TensorFlow's name of the variable


class StepCheckpoint(keras.callbacks.Callback):
    """Saves every so many steps or minutes, when a signal asks for it, and resumes exactly.

    Every epoch ends with a checkpoint. One from the middle of an epoch holds the sums of the
    epoch's metrics, so that its averages are those of an unbroken run too.

    Args:
        directory: folder of this phase's checkpoints.
        every: int, steps between checkpoints.
        epoch_steps: int, steps per epoch.
        steps: int, steps of the phase.
        minutes: float, the most minutes between checkpoints.
        flagfile: str, the configuration that they belong to.
        rows: list of the run's metrics so far, one dictionary per epoch; `restore` replaces its
            contents by those of the checkpoint.
        signals: `Signals` of the run.
        workers: `Workers` of the run, which save and stop at the same step.
        source: folder that all workers read checkpoints from, by default `directory`.

    Attributes:
        step: int, steps of the phase done.
    """

    def __init__(
        self, directory, every, epoch_steps, steps, minutes=float("inf"), flagfile="", rows=None,
        signals=None, workers=None, source=None,
    ):  # fmt: skip
        super().__init__()
        self.directory, self.source = pathlib.Path(directory), pathlib.Path(source or directory)
        self.every, self.epoch_steps, self.steps = every, epoch_steps, steps
        self.minutes, self.flagfile, self.signals = minutes, flagfile, signals or Signals()
        self.workers = workers or Workers(tf.distribute.get_strategy())
        self.rows = [] if rows is None else rows
        self.step = int(self.workers.of_chief(str(steps_done(self.source))))
        self.sums = tf.Variable([], shape=[None], dtype=tf.float32)
        self.record = tf.Variable("", dtype=tf.string)
        self.checkpoint = None

    def on_train_begin(self, logs=None):
        if self.checkpoint is None:  # not in a later call of `fit` in the same phase
            self.restore(self.model)

    def restore(self, model):
        """Loads the latest checkpoint, if there is one, into a compiled model."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.checkpoint = tf.train.Checkpoint(
            weights=_values(model.weights),
            optimizer=_values(model.optimizer.variables),
            sums=self.sums,
            record=self.record,
        )
        self.saved_at = time.monotonic()
        if self.step:
            _restore(self.checkpoint, self.source, self.step)
            record = json.loads(self.record.numpy())
            self.rows[:] = record["metrics"]
            if (before := record.get("workers", 1)) != self.workers.count:
                print(
                    f"The checkpoint after {self.step} steps was written by {before} workers; "
                    f"{self.workers.count} go on from it"
                )

    def on_train_batch_end(self, batch, logs=None):
        # Metrics come into being in the first step, so what is carried over is added after it.
        for variable, value in zip(self._running(), self.sums.numpy()):
            variable.assign(variable.numpy() + value)  # replicas have no `assign_add` out of a step
        self.sums.assign([])
        self.step += 1
        if self.step % self.epoch_steps == 0 or self.step == self.steps:
            return  # the epoch's end saves
        late = time.monotonic() - self.saved_at >= 60 * self.minutes
        due = self.step % self.every == 0 or late
        asked, due = self.workers.anywhere(self.signals.received is not None, due)
        if due or asked:
            self.sums.assign([variable.numpy() for variable in self._running()])
            self.save()
            self.sums.assign([])
        if asked:
            self.signals.stop()

    def on_epoch_end(self, epoch, logs=None):
        self.save()
        if any(self.workers.anywhere(self.signals.received is not None)):
            self.signals.stop()

    def _running(self):
        """Sums and counts of the running metrics, all of which are means."""
        return _values(v for metric in self.model.metrics for v in metric.variables)

    def save(self):
        """Writes a checkpoint of this step and removes all but the last."""
        record = {"flagfile": self.flagfile, "metrics": self.rows, "workers": self.workers.count}
        self.record.assign(json.dumps(record))
        path = self.directory / f"ckpt-{self.step}"
        try:
            with folder.replacing(path) as temporary:
                self.checkpoint.write(str(temporary / "ckpt"))
                for file in temporary.iterdir():
                    folder.flush(file)
                _remove(path)  # of a run that was stopped here before
        except (tf.errors.OpError, OSError) as error:
            if self.workers.lost(error):
                raise
            raise OSError(
                f"A checkpoint cannot be written to `workdir`, {self.directory}: "
                f"{_first_line(error)}"
            ) from error
        for step in _steps(self.directory)[:-KEPT]:
            _remove(self.directory / f"ckpt-{step}")
        self.saved_at = time.monotonic()


def _steps(directory):
    """Steps of the checkpoints in a folder, in order."""
    names = [path.name for path in pathlib.Path(directory).glob("ckpt-*")]
    return sorted(int(name[5:]) for name in names if name[5:].isdecimal())


def _remove(path):
    """Removes a checkpoint, if it is there, in such a way that no part of it looks like one."""
    if path.exists():
        doomed = folder.unfinished(path)
        os.replace(path, doomed)
        folder.remove(doomed)


def steps_done(directory):
    """The step of the latest checkpoint in a folder, 0 if there is none."""
    return max(_steps(directory), default=0)


def read_record(directory):
    """The record of the latest checkpoint, or None if there is none.

    It is `{"flagfile": str, "metrics": list, "workers": int}`.

    Raises:
        ValueError: if the checkpoint is damaged.
    """
    step = steps_done(directory)
    if not step:
        return None
    try:
        reader = tf.train.load_checkpoint(str(pathlib.Path(directory) / f"ckpt-{step}" / "ckpt"))
        return json.loads(reader.get_tensor(RECORD))
    except DAMAGED as error:
        raise _damaged(directory, step, error) from error


def restore_model(model, directory):
    """Loads weights and clock from the latest checkpoint of an earlier phase or run.

    Raises:
        ValueError: if there is none, or it is damaged or of another model.
    """
    step = steps_done(directory)
    if not step:
        raise ValueError(f"There is no checkpoint of a pretraining in {directory}")
    checkpoint = tf.train.Checkpoint(weights=_values(model.weights))
    _restore(checkpoint, directory, step, partial=True)


def _values(variables):
    """TensorFlow's variables behind Keras's: its checkpoints miss layers kept in lists."""
    return [v.value for v in variables]


def _restore(checkpoint, directory, step, partial=False):
    try:
        status = checkpoint.read(str(pathlib.Path(directory) / f"ckpt-{step}" / "ckpt"))
        status.assert_existing_objects_matched()
        status.expect_partial() if partial else status.assert_consumed()
    except DAMAGED as error:
        raise _damaged(directory, step, error) from error


def _damaged(directory, step, error):
    path = pathlib.Path(directory) / f"ckpt-{step}"
    return ValueError(
        f"The checkpoint {path} is damaged or of another model; remove it to go on from the one "
        f"before it, if there is one. {_first_line(error)}"
    )


def _first_line(error):
    return str(error).strip().split("\n")[0]
