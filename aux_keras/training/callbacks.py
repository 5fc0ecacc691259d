"""Keras callbacks of a run: metrics per epoch, a stop at NaN."""

import math
import time

import keras

from aux_keras.training import workdir as folder


class MetricsLog(keras.callbacks.Callback):
    """Writes one JSON object per epoch to `metrics.jsonl`, with the seconds of its steps.

    The rows of a run that resumes are those of the checkpoint that it resumes from, whatever the
    file holds. What is not finite is `null`, as JSON has no NaN.

    Args:
        workdir: folder of the run.
        phase: name of the phase, written into each row.
        checkpoint: the phase's `StepCheckpoint`, which counts the steps and keeps the rows.
    """

    def __init__(self, workdir, phase, checkpoint):
        super().__init__()
        self.workdir, self.phase, self.checkpoint = workdir, phase, checkpoint
        self.seconds = []
        folder.write_metrics(workdir, checkpoint.rows)

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
            **{name: folder.json_number(value) for name, value in sorted((logs or {}).items())},
            "seconds": time.perf_counter() - self.began,
            "seconds_per_step": sum(steady) / len(steady),
        }
        self.checkpoint.rows.append(row)
        folder.write_metrics(self.workdir, self.checkpoint.rows)


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
