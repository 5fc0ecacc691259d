"""Whole runs: the command line on the README's flagfiles, shrunk by overrides only."""

import dataclasses
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from aux_keras.config import ExperimentConfig
from aux_keras.data import tasks
from aux_keras.models import factory, input_checks
from aux_keras.models.memory_profile import MemoryProfile
from aux_keras.serving.export import export_run
from aux_keras.training import callbacks, checkpoints, loop, schedules, signals
from aux_keras.training import workdir as folder
from tests import processes, test_config, test_stanford_dogs
from tests.conftest import set_seed

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ["--units=8", "--embedding_units=8", "--classifier_units=8", "--decoder_units=8",
         "--segment_length=12", "--train_examples=192", "--memory_gap=false",
         "--pictures=false", "--saved_model=false"]  # fmt: skip
REAL = pytest.mark.skipif(
    not pathlib.Path(os.environ.get("TFDS_DATA_DIR", ""), "mnist").exists(),
    reason="needs MNIST in $TFDS_DATA_DIR",
)


def command(workdir, *flags, flagfile="digits_r"):
    return ["train.py", f"--flagfile=configs/{flagfile}.cfg", f"--workdir={workdir}", *flags]


def train(workdir, *flags):
    return processes.run(*command(workdir, *flags))


def train_anew(workdir, *flags, flagfile="digits_r", **options):
    """`train` by a process that imports TensorFlow itself."""
    given = [sys.executable, *command(workdir, *flags, flagfile=flagfile)]
    return subprocess.run(given, cwd=ROOT, capture_output=True, text=True, **options)


def weights(workdir):
    return [w.numpy() for w in keras.models.load_model(workdir / folder.MODEL).weights]


def read_metrics(workdir):
    return [json.loads(line) for line in (workdir / folder.METRICS).read_text().splitlines()]


def rows(workdir):
    """Metrics, without what depends on the clock of the wall."""
    return [
        {k: v for k, v in row.items() if not k.startswith("seconds")}
        for row in read_metrics(workdir)
    ]


def test_a_run_leaves_what_it_promises(tmp_path):
    short = ["--pretrain_epochs=2", "--epochs=2", "--validation_fraction=0.3", "--memory_gap=true"]
    short += ["--pictures=true", "--saved_model=true"]
    done = train_anew(tmp_path, *SMALL, *short)
    assert done.returncode == 0, done.stderr
    assert "auxiliary_loss" in done.stdout and "accuracy" in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"lock", "config.cfg", "metrics.jsonl", "tensorboard", "checkpoints",
                     "model.keras", "saved_model", "figures", "report.html",
                     "result.json"}  # fmt: skip
    result = json.loads((tmp_path / "result.json").read_text())
    assert f"Test accuracy: {result['test_accuracy']:.4f}" in done.stdout
    assert result["steps"] == {"pretrain": 4, "train": 4} and result["seed"] == 0
    assert result["versions"]["keras"] == keras.__version__
    model = keras.models.load_model(tmp_path / "model.keras")
    assert result["weights"] == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert int(model.training_step) == 8
    assert model.preprocessing["label_names"] == [str(i) for i in range(10)]
    task = tasks.load("digits", seed=0)
    x, y = (np.concatenate(parts) for parts in zip(*task.evaluation("test")))
    accuracy = np.mean(model.predict(x, verbose=0).argmax(-1) == y)
    np.testing.assert_allclose(result["test_accuracy"], accuracy, rtol=1e-6)
    assert [(r["phase"], r["epoch"], r["step"]) for r in rows(tmp_path)] == [
        ("pretrain", 1, 2), ("pretrain", 2, 4), ("train", 1, 2), ("train", 2, 4)]  # fmt: skip
    assert "val_accuracy" in rows(tmp_path)[-1] and "accuracy" not in rows(tmp_path)[0]
    gap = "reconstruction_memory_gap"
    assert all({f"val_{gap}", f"val_{gap}_error"} <= set(row) for row in rows(tmp_path))
    assert result["validation"]["pretrain"][f"val_{gap}"] == rows(tmp_path)[1][f"val_{gap}"]
    assert set(result["test_memory_gap"]) == {gap, f"{gap}_error"}
    assert list((tmp_path / "tensorboard").rglob("events.*"))
    again = processes.run("train.py", f"--flagfile={tmp_path / 'config.cfg'}")
    assert again.returncode == 0 and "This run is finished" in again.stdout
    other = train(tmp_path, *SMALL, "--pretrain_epochs=2", "--epochs=3")
    assert other.returncode == 1
    assert "`workdir` holds a run of another configuration" in other.stderr
    assert "--epochs=2" in other.stderr and "--epochs=3" in other.stderr


def kill_after(workdir, checkpoint, *flags, number=signal.SIGKILL):
    """Starts a run and sends it a signal once a checkpoint is there: its status and stderr."""
    process = processes.Process(*command(workdir, *flags))
    deadline = time.monotonic() + 300
    while not (workdir / "checkpoints" / checkpoint).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    done = process.wait()
    assert not (workdir / folder.RESULT).exists()
    return done.returncode, done.stderr


def assert_same_weights(broken, unbroken):
    for one, other in zip(weights(broken), weights(unbroken), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_same_end(broken, unbroken):
    assert_same_weights(broken, unbroken)
    assert rows(broken) == rows(unbroken)
    results = [json.loads((w / folder.RESULT).read_text()) for w in (broken, unbroken)]
    for result in results:
        result.pop("seconds"), result.pop("seconds_per_step")
    assert results[0] == results[1]


def test_killed_and_stopped_and_resumed_ends_as_unbroken(tmp_path):
    """`kill -9` in the first phase; SIGTERM in the second, which loses no step."""
    flags = [*SMALL, "--pretrain_steps=25", "--steps=25", "--checkpoint_steps=4",
             "--batch_size=32"]  # fmt: skip
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert train(unbroken, *flags).returncode == 0
    kill_after(broken, "pretrain/ckpt-8", *flags)
    status, told = kill_after(broken, "train/ckpt-8", *flags, number=signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert told.splitlines() == [
        "", "train.py: interrupted by SIGTERM; rerun the same command to resume"]  # fmt: skip
    resumed = train(broken, *flags)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr == ""  # no notes of TensorFlow's either
    assert_same_end(broken, unbroken)


def small_run(workdir, **overrides):
    """A short run of `digits_r` in this process, and its model."""
    config = test_config.read(ROOT / "configs" / "digits_r.cfg")
    small = dict(units=8, embedding_units=8, classifier_units=8, decoder_units=8, segment_length=12,
                 train_examples=64, batch_size=32, pretrain_steps=3, steps=3,
                 memory_gap=False, pictures=False, saved_model=False,
                 rmsprop_epsilon=1e-20)  # fmt: skip
    loop.run(dataclasses.replace(config, workdir=str(workdir), **{**small, **overrides}))
    return keras.models.load_model(workdir / folder.MODEL)


def assert_same_model(one, other):
    for a, b in zip(
        one.weights + one.optimizer.variables, other.weights + other.optimizer.variables
    ):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two phases and its model. To be copied, not changed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, small_run(workdir)


@pytest.fixture
def copied(finished, tmp_path):
    return pathlib.Path(shutil.copytree(finished[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    "lost",
    [[folder.RESULT, folder.MODEL], [folder.RESULT, folder.METRICS], [folder.METRICS],
     [folder.MODEL, folder.CONFIG]],
    ids=["both", "result and metrics", "metrics", "config"],
)  # fmt: skip
def test_what_a_run_lost_after_its_last_step_is_made_again(lost, finished, copied):
    for name in lost:
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_same_model(small_run(copied), finished[1])
    assert_same_end(copied, finished[0])
    assert (copied / folder.CONFIG).exists()


def test_a_pretraining_killed_after_its_last_step_ends_as_unbroken(tmp_path):
    unbroken = small_run(tmp_path, steps=0)
    assert int(unbroken.training_step) == 3
    for name in (folder.RESULT, folder.MODEL):
        (tmp_path / name).unlink()
    assert_same_model(small_run(tmp_path, steps=0), unbroken)


def test_a_finished_run_is_not_run_again_unless_a_saved_model_is_missing(
    finished, copied, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.delattr(loop, "finish")
        small_run(copied)
    model = small_run(copied, saved_model=True)
    assert_same_model(model, finished[1])
    assert_same_end(copied, finished[0])
    assert len(tf.saved_model.load(copied / folder.SAVED_MODEL).signatures) > 0
    taken = sum(path.stat().st_size for path in copied.rglob("*") if path.is_file())
    assert taken <= loop.space(model) < 10 * taken  # what is asked for before training


def test_checkpoints_know_the_run_that_they_belong_to(copied):
    """Without its `config.cfg` and result the folder is still no other run's."""
    for name in (folder.CONFIG, folder.RESULT):
        (copied / name).unlink()
    with pytest.raises(ValueError, match="another configuration: .*--seed=0.* this run .*--seed=1"):
        small_run(copied, seed=1)
    assert not (copied / folder.CONFIG).exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [(folder.RESULT, b"\xff{"), (folder.RESULT, b"{"), (folder.CONFIG, b"\xff")],
)
def test_damaged_files_are_named(name, content, copied):
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        small_run(copied)


@pytest.mark.parametrize("part", ["ckpt.index", "ckpt.data-00000-of-00001"])
@pytest.mark.parametrize("content", [b"", b"xyz"])
def test_damaged_checkpoints_are_named(part, content, copied):
    (copied / folder.RESULT).unlink()
    (copied / "checkpoints" / "train" / "ckpt-3" / part).write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint .*ckpt-3 is damaged .* remove it to go on"):
        small_run(copied)


def test_an_older_checkpoint_takes_the_place_of_a_damaged_one(finished, copied):
    (copied / folder.RESULT).unlink()
    shutil.rmtree(copied / "checkpoints" / "train" / "ckpt-3")
    assert_same_model(small_run(copied), finished[1])
    assert_same_end(copied, finished[0])


def test_a_model_that_is_cut_short_is_made_again(finished, copied):
    model = copied / folder.MODEL
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ValueError, match="model.keras cannot be read as a model"):
        export_run(copied, copied.parent / "exported", "saved_model")
    assert_same_model(small_run(copied), finished[1])


@pytest.mark.parametrize("name", folder.WRITTEN)
def test_a_folder_of_something_else_is_left_alone(name, tmp_path):
    """Neither replaced nor cleared."""
    (tmp_path / "unfinished-thesis").mkdir()
    theirs = tmp_path / name / "theirs" if "." not in name else tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("x")
    before = sorted(tmp_path.rglob("*"))
    config = ExperimentConfig(workdir=str(tmp_path))
    with pytest.raises(ValueError, match=f"`workdir` must be a new folder, .* but {name}, which"):
        folder.check(config)
    assert sorted(tmp_path.rglob("*")) == before
    theirs.unlink()
    if theirs.parent != tmp_path:
        theirs.parent.rmdir()
    folder.create(tmp_path, config)
    assert (tmp_path / "unfinished-thesis").exists()


def test_what_killed_runs_leave_is_cleared(copied):
    (copied / folder.RESULT).unlink()
    for place in (copied, copied / "checkpoints" / "train"):
        left = folder.unfinished(place / "ckpt-3")
        left.mkdir()
        (left / "ckpt.index").write_text("x")
    folder.unfinished(copied / folder.MODEL).write_text("x")
    small_run(copied)
    assert not list(copied.rglob("unfinished-*"))


@pytest.fixture
def heard():
    """A shell's background job, and what it starts, ignores ctrl-C: not in these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", signals.CAUGHT, ids=lambda number: number.name)
def test_a_signal_during_training_loses_no_step(number, finished, tmp_path, monkeypatch):
    """It comes in the second step of three, in the middle of an epoch or at its end."""
    before = callbacks.StopAtNonFiniteLoss.on_train_batch_end

    def send(self, batch, logs=None):
        before(self, batch, logs)
        if self.step == (1 if number == signal.SIGTERM else 2) and self.phase == "train":
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(caught) for caught in signals.CAUGHT]
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.StopAtNonFiniteLoss, "on_train_batch_end", send)
        with pytest.raises(signals.Interrupted, match=f"interrupted by {number.name}"):
            small_run(tmp_path)
    step = checkpoints.steps_done(tmp_path / "checkpoints" / "train")
    assert step == (1 if number == signal.SIGTERM else 2)
    assert [signal.getsignal(caught) for caught in signals.CAUGHT] == handlers
    assert_same_model(small_run(tmp_path), finished[1])
    assert_same_end(tmp_path, finished[0])


@pytest.mark.usefixtures("heard")
def test_signals_outside_of_steps_and_second_ones_stop_at_once():
    with signals.Signals() as caught:
        with pytest.raises(signals.Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    with signals.Signals() as caught, caught.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert caught.received == signal.SIGTERM
        with pytest.raises(signals.Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_checkpoints_by_minutes(tmp_path, monkeypatch):
    saved, save = [], checkpoints.StepCheckpoint.save

    def note(self):
        saved.append(self.step)
        save(self)

    monkeypatch.setattr(checkpoints.StepCheckpoint, "save", note)
    small_run(tmp_path, checkpoint_minutes=0.0)
    assert saved == [1, 2, 3, 1, 2, 3]
    assert sorted(p.name for p in (tmp_path / "checkpoints" / "train").iterdir()) == [
        "ckpt-2", "ckpt-3"]  # fmt: skip


def test_a_disk_that_is_full_at_the_export_keeps_the_training(finished, copied, monkeypatch):
    (copied / folder.RESULT).unlink()

    def full(model, path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "export_model", full)
        with pytest.raises(OSError, match="model cannot be written .*No space left.* rerun"):
            small_run(copied, saved_model=True)
    assert not list(copied.rglob("unfinished-*")) and not (copied / folder.RESULT).exists()
    assert_same_model(small_run(copied), finished[1])


def test_results_are_json_even_if_a_number_is_not_finite(tmp_path):
    folder.write_metrics(tmp_path, [{"val_loss": folder.json_number(np.float32("nan"))}])
    assert read_metrics(tmp_path) == [{"val_loss": None}]
    assert folder.json_number(np.float32(1.5)) == 1.5


def test_pretraining_of_another_run(tmp_path):
    """Of a finished run the state before it saw labels is taken, trained further or not."""
    pretrained = small_run(tmp_path / "pretraining", steps=0)
    trained = small_run(tmp_path / "both")
    for source in ("pretraining", "both"):
        taken = small_run(tmp_path / f"from {source}", pretrained=str(tmp_path / source), steps=3)
        assert_same_model(taken, trained)
    taken = small_run(tmp_path / "again", pretrained=str(tmp_path / "both"), steps=1)
    assert int(pretrained.training_step) == 3 and int(taken.training_step) == 4
    with pytest.raises(ValueError, match="`pretrained` must be a run with --cell=irnn --seed=1"):
        small_run(tmp_path / "x", pretrained=str(tmp_path / "both"), cell="irnn", seed=1)
    for wrong in (dict(pretrained=str(tmp_path / "both"), units=9),
                  dict(pretrained=str(tmp_path / "from both"))):  # fmt: skip
        with pytest.raises(ValueError, match="a run of the same network with a checkpoint of its"):
            small_run(tmp_path / "x", **wrong)
    assert not (tmp_path / "x").exists()


@REAL
def test_a_flagfile_on_real_data(tmp_path):
    done = train_anew(
        tmp_path, *SMALL, "--image_size=14", "--batch_size=32", "--pretrain_steps=2", "--steps=2",
        flagfile="mnist_r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no notes of TensorFlow and TFDS either
    assert all(np.isfinite(row["loss"]) for row in rows(tmp_path))


def run_flagfile(name, workdir, **overrides):
    """A few steps of both phases of a flagfile, in this process, shrunk by overrides only."""
    config = test_config.read(ROOT / "configs" / f"{name}.cfg")
    small = {"pretrain_steps": 2, "steps": 2, "train_examples": 8, "test_examples": 8,
             "batch_size": 4, "workdir": str(workdir), "memory_gap": False, "pictures": False,
             "saved_model": False, "rmsprop_epsilon": 1e-20}  # fmt: skip
    small = test_config.read_by(config.method, **{**small, **overrides})
    # 1e-10 would be warned of: after two steps gradients are smaller than in a whole run.
    result = loop.run(dataclasses.replace(config, **small))
    assert all(np.isfinite(row["loss"]) for row in rows(workdir))
    without = config.method in test_config.NO_AUXILIARY
    phases = {"train"} if without else {"pretrain", "train"}
    assert {row["phase"] for row in rows(workdir)} == phases
    assert 0 <= result["test_accuracy"] <= 1


@REAL
@pytest.mark.parametrize("name", ["mnist_r", "mnist_p", "pmnist_lstm_300", "table5/cifar_r_20x30"])
def test_flagfiles_of_the_tables(name, tmp_path):
    short = {"segment_length": 150} if name.startswith("mnist") else {}
    run_flagfile(name, tmp_path, image_size=14, **short)


@REAL
@pytest.mark.parametrize(
    "name", ["table5/cifar_r_200x3_0", "figure6/cifar_r_no_embedding", "figure5/cifar_r_curves"]
)
def test_flagfiles_that_build_on_others(name, tmp_path):
    short = {} if "x" in name else {"segment_length": 150}
    run_flagfile(name, tmp_path, image_size=14, **short)
    assert ("val_accuracy" in rows(tmp_path)[-1]) == name.endswith("curves")


@REAL
@pytest.mark.parametrize("size", [40, 128])
@pytest.mark.parametrize("name", test_config.DOGS)
def test_flagfiles_of_stanford_dogs(name, size, tmp_path):
    run_flagfile(name, tmp_path, image_size=size)


@REAL
@pytest.mark.parametrize("name", test_config.BASELINES)
def test_flagfiles_of_baselines(name, tmp_path):
    run_flagfile(name, tmp_path, image_size=14)


@REAL
def test_flagfile_of_the_transformer_on_stanford_dogs(tmp_path):
    run_flagfile("dogs_transformer", tmp_path)


SMALL_ATTENTION = dict(warmup_steps=20, batch_size=32, epochs=3, units=64, embedding_units=64,
                       transformer_layers=2, train_examples=1000)  # fmt: skip
LEARNING = {  # what makes each learn in few steps, and how far its loss must fall
    "irnn": (dict(learning_rate=0.003, irnn_stddev=0.03, epochs=4, train_examples=2000), 0.95),
    "urnn": (dict(learning_rate=1e-3, units=128, epochs=3, train_examples=1000), 0.9),
    "transformer": (SMALL_ATTENTION, 0.9),
    "tdmca": (dict(**SMALL_ATTENTION, attention_block=32, attention_margin=16), 0.9),
}


@REAL
@pytest.mark.parametrize("method", LEARNING)
def test_baselines_learn_mnist(method, tmp_path):
    """On a few images of 10 x 10 the loss of the last epoch is below so much of the first's."""
    overrides, margin = LEARNING[method]
    config = test_config.read(ROOT / "configs" / f"mnist_{method}.cfg")
    loop.run(dataclasses.replace(
        config, image_size=10, test_examples=100, workdir=str(tmp_path), pictures=False,
        saved_model=False, **overrides,
    ))  # fmt: skip
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[-1] < margin * losses[0], losses


@pytest.fixture(scope="module")
def dbpedia_dir(tmp_path_factory):
    """A TFDS folder; prepared from the real csv files by the first test that needs it."""
    return tmp_path_factory.mktemp("tfds")


@REAL
@pytest.mark.parametrize("name", test_config.DBPEDIA)
def test_flagfiles_of_dbpedia(name, dbpedia_dir, tmp_path):
    csv_dir = pathlib.Path(os.environ["TFDS_DATA_DIR"]).parent / "dbpedia"
    folders = {"data_dir": str(dbpedia_dir), "manual_dir": str(csv_dir)}
    run_flagfile(name, tmp_path, **folders, pictures=name == "dbpedia_r")
    if name == "dbpedia_r":
        said = (tmp_path / folder.FIGURES / "reconstruction.txt").read_text()
        assert said.count("truth ") == said.count("said  ") > 0


@REAL
def test_an_image_that_does_not_decode_stops_a_run_with_its_name(tmp_path):
    import tensorflow_datasets as tfds

    data = tfds.builder("stanford_dogs", data_dir=os.environ["TFDS_DATA_DIR"])
    for name in data.info.features["label"].names:
        breed = name.split("-")[0]
        test_stanford_dogs.make(tmp_path / "images", f"{breed}/{breed}_0.JPEG")
    broken = tmp_path / "images" / breed / f"{breed}_0.JPEG"
    broken.write_bytes(broken.read_bytes()[:200])
    config = ExperimentConfig(task="stanford_dogs", method="lstm", supervised_truncation=1,
                              image_size=4, manual_dir=str(tmp_path / "images"), steps=40,
                              batch_size=8, workdir=str(tmp_path / "run"))  # fmt: skip
    with pytest.raises(ValueError, match=f"The image {broken} cannot be decoded"):
        loop.run(config)


def test_what_the_data_pipeline_finds_is_said_in_one_line():
    """In a real `fit`, whose errors begin with frames of the graph."""
    config = ExperimentConfig(method="lstm", units=4, embedding_units=4, classifier_units=4)
    built = factory.build(config, 9, 1, classes=3)
    built.compile("sgd", "sparse_categorical_crossentropy")
    labelled = tf.data.Dataset.from_tensors((np.zeros((2, 9, 1), "f"), np.array([0, 7])))
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        built.fit(labelled, verbose=0, shuffle=False)
    assert "`y` holds a label outside" in input_checks.reason(raised.value)

    def missing(x):
        raise FileNotFoundError(f"no image {int(x)}")

    broken = tf.data.Dataset.range(3).map(
        lambda x: (tf.ensure_shape(tf.py_function(missing, [x], tf.float32), (9, 1)), x)
    )
    with pytest.raises(tf.errors.OpError) as raised:
        built.fit(broken.batch(1), verbose=0, shuffle=False)
    assert input_checks.reason(raised.value) == "no image 0"


def test_a_set_that_no_flagfile_names(tmp_path):
    from tests.test_data import Stripes, prepare

    prepare(Stripes, tmp_path / "data")
    done = processes.run(
        "train.py", *SMALL, "--task=stripes", "--pretrain_steps=2", "--steps=2", "--batch_size=4",
        "--memory_gap=true", "--pictures=true", "--saved_model=true",
        f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--segment_length=64"], "`segment_length` must be smaller"),
        (["--task=no_such_set"], "`task` must be"),
        (["--epochs=0", "--pretrain_epochs=0"], "`epochs` or `pretrain_epochs` must be at least 1"),
        (["--pretrained=/nowhere"], "`pretrained` must be the folder of a finished run"),
        (["--task=fashion_mnist", "--data_dir=/nowhere"], "`fashion_mnist` is not in /nowhere"),
    ],
)
def test_bad_runs_write_nothing(flags, message, tmp_path):
    began = time.monotonic()
    done = train(tmp_path / "run", *flags)
    assert done.returncode == 1 and message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    assert time.monotonic() - began < 60


def test_two_processes_do_not_share_a_workdir(tmp_path):
    small_run(tmp_path, steps=0)
    (tmp_path / folder.RESULT).unlink()
    with folder.locked(tmp_path):
        with pytest.raises(OSError, match="`workdir` is in use by another process"):
            small_run(tmp_path, steps=0)
    assert folder.check(ExperimentConfig(workdir=str(tmp_path / "new")))


def test_processes_that_start_together_do_not_share_a_workdir(tmp_path):
    """One of two gets the folder, whichever wrote `config.cfg` last."""
    config = ExperimentConfig(workdir=str(tmp_path / "run"))
    workdir = folder.check(config)
    with folder.locked(workdir):
        folder.create(workdir, config)
        with pytest.raises(OSError, match="in use by another process"), folder.locked(workdir):
            pass
    other = dataclasses.replace(config, seed=1)  # which looked before the first was there
    with folder.locked(workdir), pytest.raises(ValueError, match="a run of another configuration"):
        folder.create(workdir, other)


def test_workdirs_of_the_home_folder_and_of_patterns(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder.check(ExperimentConfig(workdir="~/runs/mine")) == tmp_path / "runs" / "mine"
    for name in ("lr[0.1]", "a*", "what?", "back\\slash"):
        with pytest.raises(ValueError, match="`workdir` must not have"):
            folder.check(ExperimentConfig(workdir=str(tmp_path / name)))


def test_unwritable_workdir_is_named():
    done = train("/dev/null/run", *SMALL)
    assert done.returncode == 1
    assert "`workdir` cannot be written" in done.stderr and "/dev/null/run" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk_is_named_before_training(tmp_path):
    with pytest.raises(OSError, match="`workdir` is on a full disk: .* MiB left"):
        folder.check_space(tmp_path, 10**18)


def test_a_disk_that_fills_up_leaves_no_half_written_file(tmp_path):
    """Files cannot grow beyond 60 kB here, as on a disk with that little left."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    alone = {**os.environ, "TF_XLA_FLAGS": ""}  # what XLA compiles is larger, if it is kept on disk
    done = train_anew(tmp_path, "--pretrain_steps=2", "--steps=2", preexec_fn=limit, env=alone)
    assert done.returncode == 1
    assert "train.py: error:" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / folder.RESULT).exists() and not (tmp_path / folder.MODEL).exists()
    assert not list(tmp_path.glob("unfinished-*"))


def test_a_checkpoint_cut_short_is_named(tmp_path):
    flags = [*SMALL, "--pretrain_steps=4", "--steps=8", "--checkpoint_steps=2", "--batch_size=32"]
    kill_after(tmp_path, "train/ckpt-4", *flags)
    for data in (tmp_path / "checkpoints" / "train").glob("*/*.data*"):
        data.write_bytes(data.read_bytes()[:1000])
    done = train(tmp_path, *flags)
    assert done.returncode == 1, done.stdout
    assert "is damaged or of another model; remove it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path):
    done = train(tmp_path, *SMALL, "--pretrain_steps=0", "--steps=50", "--learning_rate=1e30")
    assert done.returncode == 1
    assert "at step" in done.stderr and "of phase train" in done.stderr
    assert "Traceback" not in done.stderr


def test_phases_and_spans():
    task = tasks.load("digits", seed=0)

    class Model:
        auxiliary = ["r"]

    config = ExperimentConfig(pretrain_epochs=3, epochs=5, batch_size=100, halve_epochs=2)
    pretrain, training = loop.phases(config, task, Model)
    assert (pretrain.steps, pretrain.halve_steps) == (42, 21)
    assert (training.steps, training.halve_steps) == (70, 28)
    steps, spans = 0, []
    phase = loop.Phase("train", epoch_steps=10, steps=37, halve_steps=1)
    for start in (0, 3, 10, 30, 35):
        span = loop.span(start, phase)
        spans.append((span["initial_epoch"], span["epochs"], span["steps_per_epoch"]))
        steps += span["steps_per_epoch"]
    assert spans == [(0, 3, 10), (0, 1, 7), (1, 3, 10), (3, 4, 7), (3, 4, 2)]


@pytest.mark.parametrize(("gap", "told"), [(0.001, True), (0.003, False), (-0.5, True)])
def test_a_pretraining_that_taught_nothing_says_so(gap, told, monkeypatch, capsys):
    """A gap that is not above its standard error, here 0.002, is none."""

    class Task:
        sizes = {"validation": 1, "train": 4}

        def evaluation(self, split):
            x = tf.data.Dataset.range(self.sizes[split])
            return tf.data.Dataset.zip(x, x).batch(3)

    class Model:
        auxiliary = [keras.layers.Layer(name="reconstruction")]

    def profile(model, batch, loss):
        assert list(batch) == [0, 1, 2]  # of training, as no batch of validation has two
        return MemoryProfile(loss, *4 * [np.zeros(1)], gap, 0.002)

    monkeypatch.setattr(loop, "memory_profile", profile)
    loop.tell_memory(Model(), Task())
    assert ("the RNN has been taught nothing" in capsys.readouterr().out) == told


def test_the_learning_rate_is_halved():
    schedule = schedules.halving(0.001, every_steps=300)
    rates = [float(schedule(step)) for step in (0, 299, 300, 599, 600)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4], rtol=1e-6)


def test_replacing_keeps_the_old_file_if_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), folder.replacing(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_steps_done_reads_the_names_of_whole_checkpoints(tmp_path):
    assert checkpoints.steps_done(tmp_path) == 0
    for name in ("ckpt-9", "ckpt-123", "ckpt-", "unfinished-456"):
        (tmp_path / name).mkdir()
    assert checkpoints.steps_done(tmp_path) == 123


def test_checkpoints_hold_every_weight_and_slot(tmp_path):
    """TensorFlow's own tracking would miss the layers that a model keeps in lists."""
    config = ExperimentConfig(method="rp", units=4, decoder_units=4, embedding_units=4,
                              classifier_units=4, segment_length=5)  # fmt: skip
    models = []
    for seed in (0, 1):
        set_seed(seed)
        models.append(factory.build(config, time=9, features=1, classes=3))
    x, y = np.random.rand(4, 9, 1).astype("f"), np.array([0, 1, 2, 0])
    for built in models:
        built.compile("rmsprop", "sparse_categorical_crossentropy")
    saved, restored = models
    saver = checkpoints.StepCheckpoint(tmp_path, every=10, epoch_steps=1, steps=2)
    saved.fit(x, y, verbose=0, callbacks=[saver])
    restorer = checkpoints.StepCheckpoint(tmp_path, every=10, epoch_steps=1, steps=2)
    assert restorer.step == 1
    restorer.set_model(restored)
    restorer.on_train_begin()
    for one, other in zip(saved.weights, restored.weights):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(saved.optimizer.variables, restored.optimizer.variables):
        np.testing.assert_array_equal(one, other)


def test_warm_up_then_inverse_square_root():
    """A straight line to the highest rate at step 100, then 0.1 * sqrt(100 / step)."""
    rate = schedules.WarmupInverseSquareRoot(0.1, warmup_steps=100)
    for step, wanted in ((0, 0.001), (49, 0.05), (99, 0.1), (399, 0.05), (9999, 0.01)):
        np.testing.assert_allclose(rate(step), wanted, rtol=1e-5)
    optimizer = schedules.make_optimizer("adam", 0.1, 300, warmup_steps=100)
    config = keras.optimizers.serialize(optimizer)
    assert keras.optimizers.deserialize(config).get_config() == optimizer.get_config()
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.997, 1e-9)
