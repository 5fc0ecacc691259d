"""A run: pretrain, train, evaluate, save; at any moment it can be killed and resumed."""

import contextlib
import dataclasses
import json
import math
import pathlib
import platform
import shutil
import time

import keras
import numpy as np
import tensorflow as tf

import aux_keras
from aux_keras.data import tasks
from aux_keras.models import factory, input_checks, pretraining
from aux_keras.models.auxiliary_model import AuxiliaryModel
from aux_keras.models.memory_profile import memory_profile
from aux_keras.serving.export import export_model
from aux_keras.training import callbacks, checkpoints, cluster, pictures, schedules
from aux_keras.training import workdir as folder
from aux_keras.training.signals import Signals

DATA_OPTIONS = (
    "data_dir", "download", "manual_dir", "image_size", "train_examples", "test_examples",
    "validation_fraction", "permutation", "use_titles",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Phase:
    """One of the two phases: how long, and after how many steps the rate is halved."""

    name: str
    epoch_steps: int
    steps: int
    halve_steps: int


@dataclasses.dataclass(frozen=True)
class Run:
    """What the phases of a run share.

    `workdir` is read by all workers, `place` is what this one writes, see `Workers.place`. `rows`
    are the metrics of every epoch so far.
    """

    model: keras.Model
    task: object
    config: object
    workdir: pathlib.Path
    place: pathlib.Path
    signals: Signals
    workers: cluster.Workers
    rows: list = dataclasses.field(default_factory=list)

    def checkpoints(self, name):
        """The folder of a phase's checkpoints."""
        return self.workdir / folder.CHECKPOINTS / name

    def steps_done(self, name):
        """Steps of a phase that are done, as the chief sees them."""
        return int(self.workers.of_chief(str(checkpoints.steps_done(self.checkpoints(name)))))


def run(config):
    """Trains, evaluates and saves what a configuration says.

    Args:
        config: `ExperimentConfig`.

    Returns:
        dict, the contents of `result.json`.

    Raises:
        ValueError, FileNotFoundError: for what the user can change; before training, except
            for examples that cannot be read.
        FloatingPointError: if a loss is not finite.
        OSError: if the workdir cannot be written.
        Interrupted: on SIGTERM or ctrl-C, after a checkpoint.
    """
    workdir = folder.check(config)
    if result := folder.finished(workdir, config.saved_model):
        return result
    if config.pictures:
        pictures.check()
    with cluster.workers(config) as workers:
        task = load_task(config)
        workers.agree_on("the numbers of examples in `data_dir`", str(task.sizes))
        for note in task.notes:
            print(note)
        with workers.strategy.scope():
            model = build_model(config, task)
        if config.pretrained is not None:
            load_pretrained(model, config)
        return run_phases(model, task, config, workdir, workers)


def load_task(config):
    """The task of a configuration, see `tasks.load`."""
    options = {name: getattr(config, name) for name in DATA_OPTIONS}
    return tasks.load(config.task, config.seed, bucket_lengths=config.buckets(), **options)


def build_model(config, task):
    """The network of a configuration for a task, with its seed."""
    keras.utils.set_random_seed(config.seed)
    try:
        return factory.build(
            config, task.time, task.features, task.classes, task.vocabulary_size,
            task.preprocessing(),
        )  # fmt: skip
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(
            "The network needs more memory than there is; `units` and its like must be smaller. "
            f"Received: units={config.units}"
        ) from error


def compile_model(model, config, phase):
    """Compiles for a phase, with an optimizer of its own."""
    optimizer = schedules.make_optimizer(
        config.optimizer, config.learning_rate, phase.halve_steps, config.warmup_steps,
        config.clip_norm, config.rmsprop_epsilon,
    )  # fmt: skip
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"],
        jit_compile=config.jit_compile,
    )  # fmt: skip


def run_phases(model, task, config, workdir, workers):
    """Runs what is not done yet of the phases, and the evaluation."""
    all_phases = phases(config, task, model)
    try:
        with workers.place(workdir) as place, Signals() as signals:
            run = Run(model, task, config, workdir, place, signals, workers)
            for phase in all_phases:
                if record := checkpoints.read_record(run.checkpoints(phase.name)):
                    folder.check_owner(run.checkpoints(phase.name), config, record["flagfile"])
            folder.create(place, config)
            folder.check_space(place, space(model))
            for index, phase in enumerate(all_phases):
                if not any(run.steps_done(later.name) for later in all_phases[index + 1 :]):
                    run_phase(run, phase)
            result = finish(run)
            workers.total([0])  # none leaves before the others are done
            return result
    except tf.errors.OpError as error:
        if workers.lost(error):
            raise
        raise ValueError(input_checks.reason(error)) from error  # what the data pipeline found


def space(model):
    """Bytes that a run writes: two phases keep two checkpoints each, of weights and slots.

    Another is being written, then the model, with the slots, and the SavedModel.
    """
    weights = 4 * sum(math.prod(v.shape) for v in model.weights)
    return 3 * weights * 6 + weights + 2**22  # Adam has two slots; graphs and events


def phases(config, task, model):
    """The phases of a run: pretraining only where there is an auxiliary loss."""
    epoch_steps = task.epoch_steps(config.batch_size)

    def steps(number, epochs):
        return epochs * epoch_steps if number is None else number

    pretraining = steps(config.pretrain_steps, config.pretrain_epochs)
    halfway = max(1, math.ceil(pretraining / 2))
    training = steps(config.steps, config.epochs)
    found = [Phase("train", epoch_steps, training, config.halve_epochs * epoch_steps)]
    if model.auxiliary and config.pretrained is None:
        found.insert(0, Phase("pretrain", epoch_steps, pretraining, halfway))
    found = [phase for phase in found if phase.steps]
    if not found:
        named = "`epochs` or `pretrain_epochs`" if model.auxiliary else "`epochs`"
        raise ValueError(
            f"{named} must be at least 1: nothing is trained. Received: epochs={config.epochs}, "
            f"steps={config.steps}, pretrain_epochs={config.pretrain_epochs}, "
            f"pretrain_steps={config.pretrain_steps}"
        )
    return found


def run_phase(run, phase):
    """Runs a phase from its latest checkpoint, or from the end of the pretraining."""
    model, task, config = run.model, run.task, run.config
    checkpoint = checkpoints.StepCheckpoint(
        run.place / folder.CHECKPOINTS / phase.name, config.checkpoint_steps, phase.epoch_steps,
        phase.steps, config.checkpoint_minutes, config.flagfile(), run.rows, run.signals,
        run.workers, run.checkpoints(phase.name),
    )  # fmt: skip
    pretrained = run.checkpoints("pretrain")
    if phase.name == "train" and checkpoint.step == 0 and run.steps_done("pretrain"):
        checkpoints.restore_model(model, pretrained)
        run.rows[:] = checkpoints.read_record(pretrained)["metrics"]
    with run.workers.strategy.scope():
        compile_model(model, config, phase)
        checkpoint.restore(model)  # here, as there may be no step left to train
    tensorboard = run.place / "tensorboard" / phase.name
    watchers = [
        callbacks.StopAtNonFiniteLoss(phase.name, checkpoint),
        callbacks.MetricsLog(run.place, phase.name, checkpoint),  # before the one that it counts on
        checkpoint,
        keras.callbacks.TensorBoard(tensorboard, write_graph=False),
    ]
    split = "test" if config.validate_on_test else "validation"
    validation = task.evaluation(split) if task.sizes[split] else None
    if config.pictures and validation is not None:
        watchers.append(pictures.ReconstructionLog(tensorboard, model, task))
    arguments = {"validation_data": validation, "callbacks": watchers, "shuffle": False}
    if checkpoint.step < phase.steps:
        run_steps(run, phase, checkpoint, arguments)
    run.workers.total([0])  # until the chief's last checkpoint is there
    if phase.name == "pretrain" and config.memory_gap:
        tell_memory(model, task)


def run_steps(run, phase, checkpoint, arguments):
    """Makes the steps that are left of a phase.

    Args:
        checkpoint: `StepCheckpoint` of the phase.
        arguments: of `fit`, but for the data and their number.
    """
    model, compiled, what = run.model, contextlib.nullcontext(), "Training"
    if phase.name == "pretrain":
        compiled = pretraining.phase(model, AuxiliaryModel.compile, model.optimizer)
        what = "Pretraining, without labels"
    if run.workers.chief:
        print(f"{what}: steps {checkpoint.step + 1} to {phase.steps}")
    with compiled:
        while checkpoint.step < phase.steps:
            dataset = run.task.training(run.config.batch_size, checkpoint.step)
            with run.signals.deferred():
                model.fit(dataset, **span(checkpoint.step, phase), **arguments)


def tell_memory(model, task):
    """Says in a line each which auxiliary losses have taught the RNN nothing."""
    batch = pictures.measured(task)
    for loss in model.auxiliary if batch is not None else ():
        profile = memory_profile(model, batch, loss.name)
        if profile.gap <= profile.gap_error:
            print(
                f"The memory gap of {loss.name} is {profile.gap:.2g}, with a standard error of "
                f"{profile.gap_error:.2g}: its decoder does not use the state, and the RNN has "
                "been taught nothing"
            )


def load_pretrained(model, config):
    """Takes weights and clock at the end of the pretraining of a finished run."""
    path = pathlib.Path(config.pretrained).expanduser()
    if not (path / folder.RESULT).exists():
        raise FileNotFoundError(
            f"`pretrained` must be the folder of a finished run: no {path / folder.RESULT}"
        )
    theirs, ours = config.differences(folder.read_text(path / folder.CONFIG))
    # Weights of equal shapes are another network with these: a uRNN's permutation is drawn.
    if other := [line for line in ours if line.startswith(("--method=", "--cell=", "--seed="))]:
        raise ValueError(
            f"`pretrained` must be a run with {' '.join(other)}. Received: pretrained={path}"
        )
    try:
        checkpoints.restore_model(model, path / folder.CHECKPOINTS / "pretrain")
    except ValueError as error:
        raise ValueError(
            "`pretrained` must be a run of the same network with a checkpoint of its pretraining. "
            f"Received: pretrained={path}, with {' '.join(theirs)}, for {' '.join(ours)}"
        ) from error


def span(step, phase):
    """What one call of `fit` covers from a step on: whole epochs, or the rest of one."""
    epoch, done = divmod(step, phase.epoch_steps)
    whole = phase.steps // phase.epoch_steps
    if done == 0 and whole > epoch:
        return {"initial_epoch": epoch, "epochs": whole, "steps_per_epoch": phase.epoch_steps}
    rest = min(phase.epoch_steps - done, phase.steps - step)
    return {"initial_epoch": epoch, "epochs": epoch + 1, "steps_per_epoch": rest}


def save(run):
    """Writes the trained model and, if wanted, its SavedModel."""
    try:
        with folder.replacing(run.place / folder.MODEL) as temporary:
            run.model.save(temporary)
            folder.flush(temporary)
        if run.config.saved_model:
            saved_model = run.place / folder.SAVED_MODEL
            shutil.rmtree(saved_model, ignore_errors=True)  # of a run that was killed
            export_model(run.model, saved_model)
    except (OSError, tf.errors.OpError) as error:
        if run.workers.lost(error):
            raise
        raise OSError(
            f"The trained model cannot be written to `workdir`, {run.place}: {error}. Its "
            "checkpoints are kept: make room and rerun the same command"
        ) from error


def finish(run):
    """Evaluates on the test split, saves the model and writes `result.json`, in this order."""
    began = time.perf_counter()
    model, task, config, place, rows = run.model, run.task, run.config, run.place, run.rows
    results = model.evaluate(task.evaluation("test"), return_dict=True, verbose=0)
    save(run)
    trained = [row for row in rows if row["phase"] == "train"]
    last = {row["phase"]: row for row in rows}
    result = {
        "task": config.task,
        "method": config.method,
        "test_accuracy": results["accuracy"],
        "test_loss": folder.json_number(results["supervised_loss"]),
        "test_memory_gap": {
            name: folder.json_number(value)
            for name, value in results.items() if "_memory_gap" in name
        },
        "validation": {
            phase: {name: value for name, value in row.items() if name.startswith("val_")}
            for phase, row in last.items()
        },
        "steps": folder.last_steps(rows),
        "seconds": sum(row["seconds"] for row in rows) + time.perf_counter() - began,
        "seconds_per_step": float(np.median([r["seconds_per_step"] for r in trained or rows])),
        "weights": sum(math.prod(v.shape) for v in model.trainable_weights),
        "seed": config.seed,
        "versions": {
            "aux_keras": aux_keras.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }  # fmt: skip
    if config.pictures:
        pictures.write(place, model, task, config, rows, result)
    folder.write_text(place / folder.RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")
    print(f"Test accuracy: {result['test_accuracy']:.4f}")
    if config.pictures:
        print(f"What it has learnt, in pictures: {run.workdir / folder.REPORT}")
    return result
