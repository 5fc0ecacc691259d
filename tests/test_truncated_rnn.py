"""The truncated RNN: exact values, exact horizons."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.scan import forward, lstm_gradient, parts, recurrence, rows
from aux_keras.scan.rows import map_rows
from aux_keras.scan.windows import states_at

TIME = 150


class Counter(keras.layers.Layer):
    """A cell whose state is the number of steps taken and whose output is that times x."""

    state_size = [1]
    output_size = 1

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.built = True

    def get_initial_state(self, batch_size=None):
        return [tf.zeros((batch_size, 1))]

    def call(self, inputs, states):
        count = states[0] + self.scale
        return count * inputs, [count]


def tokens(batch=3, time=TIME, features=2):
    return tf.constant(np.random.default_rng(0).normal(size=(batch, time, features)), tf.float32)


@pytest.mark.parametrize("truncation", [None, 0, 1, 7, 64, 300])
def test_counts_steps_exactly(truncation):
    layer = ak.TruncatedRNN(Counter(), truncation)
    x = tf.reshape(tf.range(1.0, 2 * TIME + 1), (2, TIME, 1))
    lengths = tf.constant([TIME, 66])
    with tf.GradientTape() as tape:
        output = layer(x, mask=tf.sequence_mask(lengths, TIME), training=True)
        total = tf.reduce_sum(output / tf.gather(x, lengths - 1, axis=1, batch_dims=1))
    assert output[:, 0].numpy().tolist() == [TIME * x[0, -1, 0], 66 * x[1, 65, 0]]
    gradient = tape.gradient(total, layer.cell.scale)
    through = [t if truncation is None else min(t, truncation) for t in (TIME, 66)]
    assert (0 if gradient is None else float(gradient)) == sum(through)


RNNS = [keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN]


@pytest.mark.parametrize("rnn", RNNS)
@pytest.mark.parametrize("truncation", [None, 0, 5])
@pytest.mark.parametrize("training", [False, True])
def test_forward_is_that_of_keras(rnn, truncation, training):
    layer, x = ak.TruncatedRNN(rnn(6), truncation), tokens()
    lengths = tf.constant([TIME, 1, 65])
    mask = tf.sequence_mask(lengths, TIME)
    got = layer(x, mask=tf.sequence_mask(lengths, TIME), training=training)
    np.testing.assert_allclose(got, layer.rnn(x, mask=mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rnn", RNNS)
@pytest.mark.parametrize("truncation", [1, 5, 70])
def test_gradient_ends_exactly_at_the_horizon(rnn, truncation):
    layer, x = ak.TruncatedRNN(rnn(6), truncation), tokens()
    lengths = tf.constant([TIME, 80, 75])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, mask=tf.sequence_mask(lengths, TIME), training=True) ** 2)
    norms = np.linalg.norm(tf.convert_to_tensor(tape.gradient(loss, x)), axis=-1)
    for b, length in enumerate(lengths.numpy()):
        inside = np.zeros(TIME, bool)
        inside[length - truncation : length] = True
        assert np.all(norms[b, ~inside] == 0)
        assert np.all(norms[b, inside] > 0)


@pytest.mark.parametrize("rnn", RNNS)
def test_truncation_at_the_length_is_none(rnn):
    layer, x = ak.TruncatedRNN(rnn(6), None), tokens(time=9)

    def gradients(truncation):
        encoder = layer.recurrence()
        with tf.GradientTape() as tape:
            encoder = layer.recurrence()
            counts = tf.constant([[9], [9], [9]])
            output = states_at(encoder, x, [(counts, truncation)])[0][0]
            loss = tf.reduce_sum(output**2)
        return tape.gradient(loss, layer.trainable_weights)

    layer.build(x.shape)
    for one, other in zip(gradients(None), gradients(9)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("time", "rows"),  # 300 rows and more are summed step by step, 60 over 4 steps at a time
    [(1, 3), (2, 3), (9, 3), (1, 60), (4, 60), (5, 60), (11, 60), (1, 300), (5, 300), (2, 600)],
)
def test_compiled_lstm_equals_the_cell(time, rows):
    """Two implementations of one interface: states, cuts and gradients agree."""
    assert lstm_gradient.PRODUCT_ROWS // 60 == 4 and lstm_gradient.PRODUCT_ROWS < 300
    cell, x = keras.layers.LSTMCell(6), tokens(rows, time)
    embedding = ak.TokenEmbedding(4)
    embedding.build((None, 2))
    cell.build((None, 4))
    lengths = tf.tile([time, min(4, time), 0], [rows // 3])
    weights = [*cell.trainable_weights, *embedding.trainable_weights]
    results = []
    for kind in (recurrence.LSTMRecurrence, recurrence.CellRecurrence):
        with tf.GradientTape() as tape:
            tape.watch(x)
            encoder = kind(cell, embedding, "float32")
            record = encoder.from_states([tf.ones((rows, 6)), 2 * tf.ones((rows, 6))])
            stack = encoder.scan(encoder.inputs(x), record, lengths, cut=4)
            states = encoder.states(stack)
            loss = tf.reduce_sum(tf.sin(states[0])) + 2 * tf.reduce_sum(tf.cos(states[1]))
        results.append([*states, *tape.gradient(loss, [*weights, x])])
    for compiled, looped in zip(*results):
        np.testing.assert_allclose(compiled, looped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("time", [1, 2, 3, 65])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_collected_states_are_those_of_single_steps(time, rows, known, monkeypatch):
    """One step is a case of its own: XLA (TensorFlow 2.21) has miscompiled loops for it.

    Sequences whose length is not known beforehand are read in parts, here of 16 steps.
    """
    monkeypatch.setattr(parts, "PART", 16)
    cell, x = keras.layers.LSTMCell(6), tokens(batch=rows, time=time)
    cell.build((None, 2))
    states, wanted = cell.get_initial_state(batch_size=rows), []
    for t in range(time + 1):
        wanted.append(states[0])
        if t < time:
            _, states = cell(x[:, t], states)
    for kind in (recurrence.LSTMRecurrence, recurrence.CellRecurrence):
        encoder = kind(cell, None, "float32")
        for compiled in (False, True):

            def collect(x, counts, encoder=encoder):
                return encoder.collect(x, encoder.first(rows), counts)[0]

            shapes = (
                tf.TensorSpec((rows, time if known else None, 2)),
                tf.TensorSpec((rows, 2), "int32"),
            )
            collect = tf.function(collect, jit_compile=compiled, input_signature=shapes)
            for counts in itertools.product(sorted({0, 1, time - 1, time, time // 2}), repeat=2):
                got = collect(x, tf.tile([counts], (rows, 1)))
                for anchor, count in enumerate(counts):
                    np.testing.assert_allclose(got[:, anchor], wanted[count], rtol=1e-5, atol=1e-6)


def of_known_and_unknown_length(function, inputs, *rest, jit_compile=None):
    """What a function returns, with time steps, its first argument, known beforehand or not."""
    for time in (inputs.shape[0], None):
        specs = [tf.TensorSpec((time, *inputs.shape[1:])), *map(tf.TensorSpec.from_tensor, rest)]
        yield tf.function(function, specs, jit_compile=jit_compile)(inputs, *rest)


@pytest.mark.parametrize("time", [1, 4, 11])
@pytest.mark.parametrize("cut", [None, 3, 4, 9])
@pytest.mark.parametrize(
    ("returns", "jit_compile"),
    [("states", None), ("outputs", None), ("last", None), ("both", None), ("both", True)],
)
def test_a_sequence_in_parts_is_the_whole(returns, cut, time, jit_compile, monkeypatch):
    """States of two layers, and gradients of all arguments, across parts and cuts."""
    monkeypatch.setattr(parts, "PART", 4)
    rng = np.random.default_rng(0)
    inputs, *states = (
        tf.constant(rng.normal(size=shape), tf.float32) for shape in [(time, 3, 2)] + 4 * [(3, 5)]
    )
    kernels = [tf.constant(rng.normal(size=(n, 20)), tf.float32) for n in (5 + 2 + 1, 5 + 5 + 1)]

    def scan(inputs, *rest):
        arguments, lengths = [inputs, *rest[:-1]], rest[-1]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            pairs = list(zip(arguments[3::2], arguments[4::2]))
            results = lstm_gradient.lstm_scan(arguments[1:3], inputs, pairs, lengths, cut, returns)
            results = tf.nest.flatten(results)
            loss = sum(tf.reduce_sum(tf.sin(result)) for result in results)
        return results, tape.gradient(loss, arguments)

    lengths = tf.constant([time, time, max(1, time - 5)])
    whole, in_parts = of_known_and_unknown_length(
        scan, inputs, *kernels, *states, lengths, jit_compile=jit_compile
    )
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
        whole, in_parts,
    )  # fmt: skip


@pytest.mark.parametrize("time", [1, 4, 11])
@pytest.mark.parametrize("size", [1, 3, 4, 6, 20])
def test_outputs_and_starts_in_parts_are_those_of_the_whole(size, time, monkeypatch):
    monkeypatch.setattr(parts, "PART", 4)
    rng = np.random.default_rng(0)
    inputs, kernel, h, c = (
        tf.constant(rng.normal(size=shape), tf.float32)
        for shape in [(time, 3, 2), (8, 20), (3, 5), (3, 5)]
    )

    def run(inputs, kernel, h, c, lengths):
        return forward.lstm_outputs_and_starts(kernel, inputs, h, c, lengths, size)

    lengths = tf.constant([time, time, max(1, time - 5)])
    (outputs, starts, last), found = of_known_and_unknown_length(run, inputs, kernel, h, c, lengths)
    np.testing.assert_allclose(outputs, found[0][:time], rtol=1e-5, atol=1e-6)
    for one, other in zip((*starts, *last), (*found[1], *found[2])):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("truncation", [None, 0, 3, 9])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("shape", [(1, 7), (3, 0), (0, 7)])
def test_fewer_rows_than_cores_and_no_steps(shape, return_sequences, truncation, monkeypatch):
    """Of unknown numbers: a last batch of one row, a batch of empty texts."""
    monkeypatch.setattr(parts, "PART", 2)
    monkeypatch.setattr(rows, "core_count", lambda: 2)
    layer = ak.TruncatedRNN(keras.layers.LSTM(4), truncation, return_sequences=return_sequences)
    layer.build((None, None, 2))

    def outputs_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        return outputs, tape.gradient(outputs, x, unconnected_gradients="zero")

    run = tf.function(outputs_and_gradient, [tf.TensorSpec((None, None, 2))], autograph=False)
    outputs, gradient = run(tf.ones((*shape, 2)))
    assert outputs.shape == ((*shape, 4) if return_sequences else (shape[0], 4))
    assert gradient.shape == (*shape, 2)


@pytest.mark.parametrize("truncation", [None, 0, 3])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_keras_exports_it_for_any_length(return_sequences, truncation, tmp_path):
    inputs = keras.Input((None, 2))
    layer = ak.TruncatedRNN(keras.layers.LSTM(4), truncation, return_sequences=return_sequences)
    model, x = keras.Model(inputs, layer(inputs)), tokens(time=9)
    model.export(tmp_path, verbose=False)
    served = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("truncation", [None, 3, 9])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_shapes_known_after_unknown_ones(return_sequences, truncation, monkeypatch):
    """What was compiled for any number of rows serves a known one, in every loop over parts."""
    monkeypatch.setattr(parts, "PART", 2)  # 9 steps are more than is read at once
    layer = ak.TruncatedRNN(keras.layers.LSTM(4), truncation, return_sequences=return_sequences)
    x, found = tokens(), []
    layer.build(x.shape)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, x)

    for shape in [(None, None), (len(x), None), (None, x.shape[1]), x.shape[:2]]:
        run = tf.function(gradient, [tf.TensorSpec((*shape, x.shape[2]))], autograph=False)
        found.append(run(x))
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-5, atol=1e-6)


def test_blocks_of_rows_change_nothing():
    x = tokens(batch=7)
    whole = map_rows(lambda r: (r * 2, [r[:, 0]]), x, blocks=1)
    blocks = map_rows(lambda r: (r * 2, [r[:, 0]]), x, blocks=3, least=1)
    for one, other in zip(tf.nest.flatten(whole), tf.nest.flatten(blocks)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("truncation", [-1, 1.5, True, "full"])
def test_bad_truncation_is_named(truncation):
    with pytest.raises(ValueError, match="`truncation` must be None .* or an integer"):
        ak.TruncatedRNN(keras.layers.LSTM(3), truncation)


def test_what_is_no_rnn_is_refused():
    lstm = keras.layers.LSTM(3)
    for wrong in (keras.layers.Dense(3), ak.TruncatedRNN(lstm, 3)):
        with pytest.raises(ValueError, match="`rnn` must be a Keras RNN layer"):
            ak.TruncatedRNN(wrong, 3)
