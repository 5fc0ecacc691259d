"""The cells of the baselines: what their papers promise of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.cells.urnn import as_complex, mod_relu, unitary
from aux_keras.config import ExperimentConfig
from aux_keras.models import factory


def matrix(cell):
    """W of a uRNN: what its rows do to the unit vectors, transposed."""
    reflections = as_complex(tf.convert_to_tensor(cell.reflections))
    rows = unitary(
        tf.eye(cell.units, dtype="complex64"), cell.phases, reflections, cell.permutation
    )
    return rows.numpy().T


def recurrent_model(cell):
    return keras.Sequential(
        [keras.Input((None, 1)), keras.layers.RNN(cell), keras.layers.Dense(3, "softmax")]
    )


def test_irnn_starts_as_its_paper_says():
    cell = ak.IRNNCell(100, stddev=0.001)
    cell.build((None, 400))
    np.testing.assert_array_equal(cell.recurrent_kernel, np.eye(100))
    np.testing.assert_array_equal(cell.bias, 0)
    assert abs(np.std(cell.kernel) - 0.001) < 2e-5 and abs(np.mean(cell.kernel)) < 2e-5


def test_irnn_keeps_its_state_for_ever_without_input():
    cell = ak.IRNNCell(7, stddev=0.001)
    state = [tf.random.uniform((2, 7), seed=0)]
    rnn = keras.layers.RNN(cell)
    np.testing.assert_array_equal(rnn(tf.zeros((2, 5000, 3)), initial_state=state), state[0])


def test_irnn_equals_its_recurrence():
    cell, rng = ak.IRNNCell(4, stddev=1.0), np.random.default_rng(0)
    x, h = rng.normal(size=(3, 6, 2)), np.zeros((3, 4))
    cell.build((None, 2))
    for weight in cell.weights:
        weight.assign(rng.normal(size=weight.shape))
    output = keras.layers.RNN(cell)(x)
    w, u, b = cell.get_weights()
    for t in range(6):
        h = np.maximum(x[:, t] @ w + h @ u + b, 0)
    np.testing.assert_allclose(output, h, rtol=1e-5)


@pytest.mark.parametrize("units", [5, 512])
def test_urnn_recurrence_is_unitary(units):
    cell = ak.URNNCell(units)
    cell.build((None, 1))
    w = matrix(cell)
    np.testing.assert_allclose(w @ w.conj().T, np.eye(units), atol=1e-5)


def test_urnn_stays_unitary_in_training():
    cell = ak.URNNCell(24)
    model = recurrent_model(cell)
    model.compile(keras.optimizers.RMSprop(0.01), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    before = matrix(cell)
    model.fit(rng.normal(size=(200, 9, 1)), rng.integers(0, 3, 200), batch_size=2, verbose=0)
    w = matrix(cell)
    assert abs(w - before).max() > 0.1  # 100 steps have moved it
    np.testing.assert_allclose(w @ w.conj().T, np.eye(24), atol=1e-5)


def test_urnn_keeps_the_norm_of_its_state_over_784_steps():
    """Without input and non-linearity: `h_784 = W^784 h_0`."""
    cell = ak.URNNCell(512)
    cell.build((None, 1))
    state = as_complex(tf.random.normal((3, 1024), seed=1))
    reflections = as_complex(tf.convert_to_tensor(cell.reflections))
    h = state
    for _ in range(784):
        h = unitary(h, cell.phases, reflections, cell.permutation)
    np.testing.assert_allclose(tf.norm(h, axis=1), tf.norm(state, axis=1), rtol=1e-4)
    assert np.abs(h - state).max() > 1


def test_urnn_equals_a_plain_recomputation():
    """Arjovsky et al., equations 4 to 8, with W as a product of matrices, in double precision."""
    n, rng = 6, np.random.default_rng(0)
    cell, x = ak.URNNCell(n), rng.normal(size=(3, 8, 2))
    output = keras.layers.RNN(cell)(x)
    d1, d2, d3 = (np.diag(np.exp(1j * p)) for p in cell.phases.numpy().astype(float))
    fourier = np.exp(-2j * np.pi * np.outer(range(n), range(n)) / n) / np.sqrt(n)
    permutation = np.eye(n)[np.random.RandomState(0).permutation(n)]
    reflections = cell.reflections.numpy().astype(float)
    r1, r2 = (
        np.eye(n) - 2 * np.outer(v, v.conj()) / np.vdot(v, v)
        for v in reflections[:, :n] + 1j * reflections[:, n:]
    )
    w = d3 @ r2 @ fourier.conj().T @ d2 @ permutation @ r1 @ fourier @ d1
    h, kernel = np.tile(cell.initial_state.numpy(), (3, 1)), cell.kernel.numpy()
    h = h[:, :n] + 1j * h[:, n:]
    for t in range(8):
        v = x[:, t] @ kernel
        z = h @ w.T + v[:, :n] + 1j * v[:, n:]
        h = z * np.maximum(abs(z) + cell.bias.numpy(), 0) / (abs(z) + 1e-5)
    np.testing.assert_allclose(output, np.concatenate([h.real, h.imag], 1), rtol=1e-4, atol=1e-5)


def test_mod_relu_turns_nothing_and_silences_what_is_small():
    z = tf.constant([[3 + 4j, 0.03 + 0.04j, 0j]], tf.complex64)
    np.testing.assert_allclose(
        mod_relu(z, tf.constant([-1.0] * 3)), [[2.4 + 3.2j, 0, 0]], rtol=1e-5
    )


def test_urnn_starts_with_a_state_of_norm_one():
    """2N draws from U(-b, b) with b = sqrt(3 / 2N): 2N * b^2 / 3 = 1."""
    cell = ak.URNNCell(2000)
    cell.build((None, 1))
    state = cell.get_initial_state(2)
    np.testing.assert_allclose(tf.norm(state, axis=1), 1, rtol=0.1)


@pytest.mark.parametrize(
    "make", [lambda: ak.URNNCell(4, seed=3), lambda: ak.IRNNCell(4, stddev=0.1)]
)
def test_a_saved_cell_gives_the_same_outputs(make, tmp_path):
    model, x = recurrent_model(make()), np.random.default_rng(0).normal(size=(2, 5, 1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("cell", ["irnn", "urnn", "gru"])
def test_auxiliary_losses_train_every_weight_of_any_cell(cell):
    config = ExperimentConfig(
        method="rp", cell=cell, units=6, embedding_units=4, classifier_units=5, decoder_units=6,
        segment_length=5, auxiliary_truncation=12, supervised_truncation=12, irnn_stddev=0.5,
    )  # fmt: skip
    model = factory.build(config, 12, 1, classes=3)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=cell != "gru")
    before = [w.numpy() for w in model.trainable_weights]
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 12, 1)), rng.integers(0, 3, 8), verbose=0)
    for weight, old in zip(model.trainable_weights, before):
        given = model.auxiliary[0].decoder.cells[0]  # starts from the state it is given
        if weight is not getattr(given, "initial_state", None):
            assert np.any(weight.numpy() != old), weight.path


@pytest.mark.parametrize("method", ["irnn", "urnn"])
def test_a_baseline_with_another_cell_is_named(method):
    with pytest.raises(ValueError, match=f"`cell` must be left out.*method='{method}', cell='gru'"):
        ExperimentConfig(method=method, cell="gru")


@pytest.mark.parametrize("units", [0, 1.5])
def test_bad_arguments_are_named(units):
    for make in (ak.URNNCell, lambda units: ak.IRNNCell(units, stddev=0.1)):
        with pytest.raises(ValueError, match="`units` must be a positive integer"):
            make(units)
    with pytest.raises(ValueError, match="`stddev` must be positive"):
        ak.IRNNCell(3, stddev=-1.0)
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        ak.URNNCell(3, seed=None)
    with pytest.raises(TypeError):  # what would not be saved
        ak.IRNNCell(3, stddev=0.1, dropout=0.5)


def test_every_urnn_cell_has_a_permutation_of_its_own():
    config = ExperimentConfig(method="r", cell="urnn", units=16, decoder_units=16)
    model = factory.build(config, 784, 1, classes=3)
    cells = [model.encoder.cell, *model.auxiliary[0].decoder.cells]
    assert len({tuple(cell.permutation) for cell in cells}) == 3


@pytest.mark.parametrize("method", ["irnn", "urnn"])
def test_weight_counts_on_mnist(method):
    """iRNN of 100 units: W, U and b, one dense layer. uRNN of N = 512: V 2N, phases 3N, reflections
    4N, biases of modReLU N, initial state 2N, a dense layer of 10 * 2N + 10: in all 32N + 10."""
    bare = dict(embedding_units=0, classifier_units=0, drop_rate=0.0, supervised_truncation="full")
    units = {"irnn": 100, "urnn": 512}[method]
    model = factory.build(ExperimentConfig(method=method, units=units, **bare), 784, 1, classes=10)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    irnn = 1 * 100 + 100 * 100 + 100 + 100 * 10 + 10
    assert count == {"irnn": irnn, "urnn": 32 * 512 + 10}[method]
    assert (irnn, 32 * 512 + 10) == (11_210, 16_394)
