"""Runs configurations one after another in one process, for `runner`.

Reads a line of JSON per request, `{"flags": [...]}`, and answers each with a line: the JSON of
`result.json`, or `{"error": ...}`; with `"timed": true` or `"profiled": true` what the function of
that name returns. What runs print goes to stderr. Several runs in a process share TensorFlow's
start and what XLA has compiled for networks of equal shapes, more than half of a short run's time.
"""

import json
import os
import pathlib
import sys
import time

import keras

from aux_keras import flags
from aux_keras.models.memory_profile import memory_profile
from aux_keras.training import checkpoints, loop, workdir

TIMED_STEPS = 5  # after the first, which compiles
PROFILED_BATCHES = 20


def timed(config):
    """Steps of each phase and seconds per step, measured on a few: `{phase: [steps, seconds]}`."""
    task = loop.load_task(config)
    model, found = loop.build_model(config, task), {}
    for phase in loop.phases(config, task, model):
        loop.compile_model(model, config, phase)
        times = []
        clock = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, times=times: times.append(time.perf_counter())
        )
        dataset = task.training(config.batch_size, 0)
        given = {"steps_per_epoch": 1 + TIMED_STEPS, "callbacks": [clock], "shuffle": False}
        if phase.name == "pretrain":
            model.pretrain(dataset, optimizer=model.optimizer, verbose=0, **given)
        else:
            model.fit(dataset, verbose=0, **given)
        found[phase.name] = [phase.steps, (times[-1] - times[0]) / (len(times) - 1)]
    return found


def profiled(config):
    """What a finished run's model remembers, on the first batches of the validation split.

    Returns:
        `{phase: {loss: parts}}`: at the end of `train`, and of `pretrain` if there was one; `parts`
        are lists of equal length, those of a `MemoryProfile`, by name.
    """
    task = loop.load_task(config)
    if not task.sizes["validation"]:
        raise ValueError("memory profiles need a validation split, `--validation_fraction`")
    batches = task.evaluation("validation").take(PROFILED_BATCHES)
    model = keras.models.load_model(pathlib.Path(config.workdir) / workdir.MODEL, compile=False)
    found = {"train": profiles(model, batches)}
    place = pathlib.Path(config.pretrained or config.workdir).expanduser()
    pretraining = place / workdir.CHECKPOINTS / "pretrain"
    if pretraining.exists():
        checkpoints.restore_model(model, pretraining)
        found["pretrain"] = profiles(model, batches)
    return found


def profiles(model, batches):
    """Parts of the memory profiles of all losses of a model, `{loss: {part: list}}`."""
    parts = ("distances", "own", "other", "counts")
    found = {loss.name: memory_profile(model, batches, loss.name) for loss in model.auxiliary}
    return {loss: {p: getattr(one, p).tolist() for p in parts} for loss, one in found.items()}


def answer(request):
    """What is answered to a request, errors as `train.py` would say them."""
    try:
        config = flags.parse(request["flags"])
        if request.get("profiled"):
            return profiled(config)
        return timed(config) if request.get("timed") else loop.run(config)
    except (ValueError, FloatingPointError, OSError) as error:
        return {"error": str(error)}
    finally:
        keras.backend.clear_session()


def main():
    """Answers every line of stdin; on ctrl-C or SIGTERM a run writes a checkpoint, as alone."""
    flags.define_flags()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run prints is no answer
    try:
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
    except KeyboardInterrupt:
        pass  # whoever asked is interrupted too


if __name__ == "__main__":
    main()
