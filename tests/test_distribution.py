"""Two replicas of a strategy compute what one process does, with all that is random."""

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
    sizes = dict(num_anchors=2, segment_length=3, truncation=2, hidden_units=5, drop_rate=0.5)
    losses = [ak.Reconstruction([LSTMCell(4)], **sizes), ak.Prediction([LSTMCell(4)], **sizes)]
    if sys.argv[1] == "transformer":
        block = ak.TransformerBlock(ak.SelfAttention(heads=2), 8, drop_rate=0.3)
        built = ak.TransformerClassifier(3, ak.TokenEmbedding(4), [block], classifier_units=5,
                                         drop_rate=0.5, drop_per="batch", input_drop_rate=0.1)
    elif sys.argv[1] == "classifier":
        built = ak.AuxiliaryClassifier(3, LSTM(4, dropout=0.3), 2, 5, 0.5, auxiliary=losses,
                                       sampling_decay_steps=8)
    else:
        layers = [keras.Input((9, 1)), keras.layers.Masking(), ak.TruncatedRNN(LSTM(4), 2),
                  ak.layers.DropConnectDense(3, 0.5), keras.layers.Softmax()]
        built = ak.AuxiliaryModel(keras.Sequential(layers), losses, sampling_decay_steps=8)
    sgd = keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.3)
    built.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return built

def run(built):
    history = {}
    if built.auxiliary:
        history |= built.pretrain(data, epochs=2, shuffle=False, verbose=0).history
    history |= built.fit(data, epochs=2, validation_data=data, shuffle=False, verbose=0).history
    return history | built.evaluate(data, return_dict=True, verbose=0)

rng = np.random.default_rng(0)
x, y = rng.normal(size=(21, 9, 1)).astype("f"), rng.integers(0, 3, 21)
lengths = rng.integers(1, 10, 21)
if sys.argv[1] == "wrapped":
    x[np.arange(9) >= lengths[:, None]] = 0
else:
    x = {"tokens": x, "lengths": lengths}
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)  # the last batch has 5: 3 and 2
one = model()
history = run(one)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two = model()
histories = run(two)
assert set(history) == set(histories)
for name, values in history.items():
    np.testing.assert_allclose(histories[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
for a, b in zip(one.weights, two.weights):
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6, err_msg=a.path)
print("equal")
"""


@pytest.mark.parametrize("model", ["classifier", "wrapped", "transformer"])
def test_two_replicas_compute_what_one_process_does(model):
    """Both phases and evaluation: anchors, feeds, DropConnect, dropout; sequences of any length."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, model], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]
