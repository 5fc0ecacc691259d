"""Keras callbacks of a run: step-exact checkpoints, metrics per epoch, a stop at NaN."""

import math
import pathlib
import shutil
import time

import keras
import tensorflow as tf

from aux_keras.training import workdir as folder


class StepCheckpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and running metrics every so many steps, and resumes exactly.

    A checkpoint is named after the steps of the phase it comes after. The latest one is
    restored by `restore`, or when training begins. One from the middle of an epoch holds the
    sums of the epoch's metrics, so that its averages are those of an unbroken run too.

    Args:
        directory: folder of this phase's checkpoints.
        every: int, steps between checkpoints; every epoch ends with one.
        epoch_steps: int, steps per epoch.
        steps: int, steps of the phase.

    Attributes:
        step: int, steps of the phase done.
    """

    def __init__(self, directory, every, epoch_steps, steps):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.every, self.epoch_steps, self.steps = every, epoch_steps, steps
        self.step = steps_done(directory)
        self.sums = tf.Variable([], shape=[None], dtype=tf.float32)
        self.manager = None

    def on_train_begin(self, logs=None):
        if self.manager is None:  # not in a later call of `fit` in the same phase
            self.restore(self.model)

    def restore(self, model):
        """Loads the latest checkpoint, if there is one, into a compiled model."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        checkpoint = tf.train.Checkpoint(
            weights=_values(model.weights),
            optimizer=_values(model.optimizer.variables),
            sums=self.sums,
        )
        self.manager = tf.train.CheckpointManager(checkpoint, str(self.directory), max_to_keep=2)
        if self.manager.latest_checkpoint:
            _restore(checkpoint, self.manager.latest_checkpoint)

    def on_train_batch_end(self, batch, logs=None):
        # Metrics come into being in the first step, so what is carried over is added after it.
        for variable, value in zip(self._running(), self.sums.numpy()):
            variable.assign_add(value)
        self.sums.assign([])
        self.step += 1
        ends_epoch = self.step % self.epoch_steps == 0 or self.step == self.steps
        if self.step % self.every == 0 and not ends_epoch:
            self.sums.assign([variable.numpy() for variable in self._running()])
            self.save()
            self.sums.assign([])

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def _running(self):
        """Sums and counts of the running metrics, all of which are means."""
        return _values(v for metric in self.model.metrics for v in metric.variables)

    def save(self):
        """Writes a checkpoint of this step."""
        try:
            self.manager.save(checkpoint_number=self.step)
        except tf.errors.OpError as error:
            for part in self.directory.glob(f"ckpt-{self.step}_temp*"):
                shutil.rmtree(part, ignore_errors=True)
            raise OSError(
                f"A checkpoint cannot be written to `workdir`, {self.directory}: "
                f"{_first_line(error)}"
            ) from error


def steps_done(directory):
    """The step of the latest checkpoint in a folder, 0 if there is none.

    Raises:
        ValueError: if the folder's list of checkpoints names none that is there.
    """
    directory = pathlib.Path(directory)
    latest = tf.train.latest_checkpoint(str(directory))
    if latest is None and (directory / "checkpoint").exists():
        raise ValueError(
            f"The checkpoints in {directory} are damaged; remove the folder to start this phase "
            "again"
        )
    return 0 if latest is None else _step_of(latest)


def restore_model(model, directory):
    """Loads weights and clock from the latest checkpoint of an earlier phase or run.

    Raises:
        ValueError: if there is none, or it is damaged or of another model.
    """
    latest = tf.train.latest_checkpoint(str(directory))
    if latest is None:
        raise ValueError(f"There is no checkpoint of a pretraining in {directory}")
    _restore(tf.train.Checkpoint(weights=_values(model.weights)), latest, partial=True)


def _values(variables):
    """TensorFlow's variables behind Keras's: its checkpoints miss layers kept in lists."""
    return [v.value for v in variables]


def _restore(checkpoint, path, partial=False):
    try:
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched()
        status.expect_partial() if partial else status.assert_consumed()
    except (tf.errors.OpError, AssertionError, IndexError, ValueError) as error:
        raise ValueError(
            f"The checkpoint {path} is damaged or of another model; remove the folder "
            f"{pathlib.Path(path).parent} to start this phase again. {_first_line(error)}"
        ) from error


def _first_line(error):
    return str(error).strip().split("\n")[0]


def _step_of(path):
    return int(path.rsplit("-", 1)[1])


class MetricsLog(keras.callbacks.Callback):
    """Adds one JSON object per epoch to `metrics.jsonl`, with the seconds of its steps.

    Rows behind the step that a run resumes from are dropped: it writes them again.

    Args:
        workdir: folder of the run.
        phase: name of the phase, written into each row.
        checkpoint: the phase's `StepCheckpoint`, which counts the steps.
    """

    def __init__(self, workdir, phase, checkpoint):
        super().__init__()
        self.workdir, self.phase, self.checkpoint = workdir, phase, checkpoint
        self.seconds = []
        rows = folder.read_metrics(workdir)
        kept = [r for r in rows if r["phase"] != phase or r["step"] <= checkpoint.step]
        folder.write_metrics(workdir, kept)

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self.seconds = time.perf_counter(), []

    def on_train_batch_begin(self, batch, logs=None):
        self.step_began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.step_began)

    def on_epoch_end(self, epoch, logs=None):
        steady = self.seconds[1:] or self.seconds  # the first step of an epoch may compile
        row = {
            "phase": self.phase,
            "epoch": epoch + 1,
            "step": self.checkpoint.step,
            **{name: float(value) for name, value in sorted((logs or {}).items())},
            "seconds": time.perf_counter() - self.began,
            "seconds_per_step": sum(steady) / len(steady),
        }
        folder.write_metrics(self.workdir, [*folder.read_metrics(self.workdir), row])


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Raises a `FloatingPointError` that names the step at which a loss is not finite.

    Args:
        phase: name of the phase.
        checkpoint: the phase's `StepCheckpoint`; steps are counted from its step on.
    """

    def __init__(self, phase, checkpoint):
        super().__init__()
        self.phase, self.step = phase, checkpoint.step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        for name, value in (logs or {}).items():
            if name.endswith("loss") and not math.isfinite(value):
                raise FloatingPointError(
                    f"`{name}` is {float(value)} at step {self.step} of phase {self.phase}; "
                    "lower `--learning_rate`, or set `--clip_norm`"
                )
