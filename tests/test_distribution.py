"""Two replicas, and two workers, compute what one process does, with all that is random."""

import pytest

from aux_keras.local_workers import free_ports, task
from tests import processes
from tests import test_training as runs

SCRIPT = """
import json, os, sys
import numpy as np, keras, tensorflow as tf
if "TF_CONFIG" in os.environ:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
else:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from keras.layers import LSTM, LSTMCell
import aux_keras as ak
from aux_keras.data.datasets import UNTUNED

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # a sixth of it
size = 8 * (int(sys.argv[1]) - 1) + 1  # the last batch has one row, for two replicas

def model(kind):
    keras.utils.set_random_seed(1)
    sizes = dict(num_anchors=2, segment_length=3, truncation=2, hidden_units=5, drop_rate=0.5)
    losses = [ak.Reconstruction([LSTMCell(4)], **sizes), ak.Prediction([LSTMCell(4)], **sizes)]
    options = dict(auxiliary=losses, sampling_decay_steps=8, memory_gap=True)
    if kind == "transformer":
        block = ak.TransformerBlock(ak.SelfAttention(num_heads=2), 8, drop_rate=0.3)
        built = ak.TransformerClassifier(3, ak.TokenEmbedding(4), [block], classifier_units=5,
                                         drop_rate=0.5, drop_per="batch", input_drop_rate=0.1)
    elif kind == "pixels":
        built = ak.AuxiliaryClassifier(3, LSTM(4, dropout=0.3), 2, 5, 0.5, **options)
    elif kind == "documents":
        built = ak.AuxiliaryClassifier(3, LSTM(4), 2, 5, 0.5, embedding=ak.TokenEmbedding(
            4, vocabulary_size=7), **options)
    elif kind == "steps":  # a label for every step that is not masked
        layers = [keras.Input((9, 1)), keras.layers.Masking(),
                  keras.layers.Dense(2, activity_regularizer="l2", kernel_regularizer="l2"),
                  ak.TruncatedRNN(LSTM(4, return_sequences=True), 2),
                  keras.layers.Dense(3, activation="softmax")]
        built = ak.AuxiliaryModel(keras.Sequential(layers))
    else:
        rnn = LSTM(4, activity_regularizer="l2")
        layers = [keras.Input((9, 1)), keras.layers.Masking(),
                  keras.layers.Dense(2, activity_regularizer="l2"), ak.TruncatedRNN(rnn, 2),
                  ak.layers.DropConnectDense(3, 0.5), keras.layers.Softmax()]
        built = ak.AuxiliaryModel(keras.Sequential(layers), **options)
    sgd = keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.3)
    loss = keras.losses.SparseCategoricalCrossentropy(
        reduction="sum" if kind == "wrapped" else "sum_over_batch_size")
    built.compile(sgd, loss, metrics=["accuracy"])
    return built

def run(built, data):
    options, logs = dict(epochs=2, shuffle=False, verbose=0), {}
    if built.auxiliary:
        logs["pretrain"] = built.pretrain(data(), **options).history
    logs["fit"] = built.fit(data(), validation_data=data(), **options).history
    logs["evaluate"] = built.evaluate(data(), return_dict=True, verbose=0)
    logs["predict"] = built.predict(data().map(lambda x, y: x), verbose=0)
    return logs

def batches(kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(size, 9, 1)).astype("f"), rng.integers(0, 3, size)
    lengths = rng.integers(1, 10, size)
    if kind == "steps":
        y = rng.integers(0, 3, (size, 9))
    if kind in ("wrapped", "steps"):
        x[np.arange(9) >= lengths[:, None]] = 0
    elif kind == "documents":
        x = {"tokens": rng.integers(0, 7, (size, 9)), "lengths": lengths}
    else:
        x = {"tokens": x, "lengths": lengths}
    whole = tf.data.Dataset.from_tensor_slices((x, y)).with_options(UNTUNED)
    return lambda: whole.shuffle(size, seed=3).batch(8)  # in the same order each time

def compare(kind, close=(1e-5, 1e-6), closer=(1e-4, 1e-6)):
    data = batches(kind)
    with strategy.scope():
        shared = model(kind)
    logs = run(shared, data)
    if json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"] == 0:
        one = model(kind)
        for (phase, expected), found in zip(run(one, data).items(), logs.values()):
            assert np.shape(expected) == np.shape(found)
            if isinstance(expected, dict):
                assert set(expected) == set(found)
            for name in expected if isinstance(expected, dict) else [...]:
                np.testing.assert_allclose(found[name], expected[name], *close, err_msg=f"{name}")
        for a, b in zip(one.weights, shared.weights):
            np.testing.assert_allclose(b.numpy(), a.numpy(), *closer, err_msg=a.path)

for kind in sys.argv[2:]:
    print(kind, flush=True)
    if kind == "mixed":  # sums of float16 in another order
        keras.mixed_precision.set_global_policy("mixed_float16")
        compare("pixels", (1e-2, 1e-2), (3e-2, 3e-2))
    else:
        compare(kind)
print("equal")
"""


def run(environments, *kinds, steps):
    """Runs the script with so many steps an epoch, in a process for each environment."""
    started = [processes.Process("-c", SCRIPT, steps, *kinds, **more) for more in environments]
    try:
        told = [process.wait(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    for done in told:
        assert done.stdout.endswith("equal\n"), f"{done.stdout}{done.stderr[-3000:]}"


def test_two_replicas_compute_what_one_process_does():
    """Both phases and evaluation: anchors, feeds, DropConnect, dropout; sequences of any length."""
    run([{}], "pixels", "wrapped", "steps", "transformer", "mixed", steps=3)


MIRRORED = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices, made = tf.distribute.MirroredStrategy, []
tf.distribute.MirroredStrategy = lambda: made.append(devices(["CPU:0", "CPU:1"])) or made[0]
from aux_keras import cli
sys.argv[1:] = ["train", *sys.argv[1:]]
cli.main()
"""


def test_a_run_on_all_devices_computes_what_one_device_does(tmp_path):
    """`--strategy=mirrored`, which takes every GPU of a machine, here two logical processors."""
    flags = [*runs.SMALL, "--flagfile=digits_r", "--pretrain_steps=12", "--steps=12",
             "--optimizer=sgd", "--validation_fraction=0.2", "--batch_size=48"]  # fmt: skip
    found = []
    for strategy in ("mirrored", "one"):
        given = [*flags, f"--strategy={strategy}", f"--workdir={tmp_path / strategy}"]
        processes.run("-c", MIRRORED, *given).check_returncode()
        found.append(runs.rows(tmp_path / strategy))
    assert len(found[0]) == len(found[1]) > 2
    for mirrored, one in zip(*found):
        assert mirrored.pop("phase") == one.pop("phase")
        assert mirrored == pytest.approx(one, rel=1e-5, abs=1e-6)


def test_two_workers_compute_what_one_process_does():
    """The same with a process each: 22 steps of either phase, in shuffled batches."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    workers = [{"TF_CONFIG": task(cluster, index)} for index in range(2)]
    run(workers, "pixels", "documents", steps=11)
