"""Two replicas on one machine: the same training as one, and draws of their own."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

SCRIPT = """
import sys
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras.layers import LSTM, LSTMCell
import aux_keras as ak

def model():
    keras.utils.set_random_seed(1)
    task = ak.Reconstruction([LSTMCell(4)], 2, 3, 2, hidden_units=5, drop_rate=0.0,
                             placement="immediate")
    if sys.argv[1] == "classifier":
        built = ak.AuxiliaryClassifier(3, LSTM(4), 2, 5, 0.0, auxiliary=[task])
        built.build((None, 4, 1))  # 4 tokens: one place for a segment of 3, so nothing is random
    else:
        layers = [keras.Input((4, 1)), LSTM(4), keras.layers.Dense(3, "softmax")]
        built = ak.AuxiliaryModel(keras.Sequential(layers), [task])
    sgd = keras.optimizers.SGD(0.01, momentum=0.9)
    built.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return built

def both(built):
    losses = built.pretrain(data, epochs=1, shuffle=False, verbose=0).history
    return losses | built.fit(data, epochs=2, shuffle=False, verbose=0).history

rng = np.random.default_rng(0)
x, y = rng.normal(size=(16, 4, 1)).astype("f"), rng.integers(0, 3, 16)
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
one = model()
history = both(one)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two = model()
histories = both(two)
for name, values in history.items():
    np.testing.assert_allclose(histories[name], values, rtol=1e-4, err_msg=name)
for a, b in zip(one.weights, two.weights):
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6, err_msg=a.path)
keys = strategy.run(tf.function(lambda: two.key(0, 5)))
first, second = strategy.experimental_local_results(keys)
assert not np.array_equal(first, second)
print("equal")
"""


@pytest.mark.parametrize("model", ["classifier", "wrapped"])
def test_two_replicas_train_as_one_and_draw_apart(model):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, model], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]
