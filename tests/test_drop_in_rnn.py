"""`TruncatedRNN` stands where a Keras RNN layer stands: values, states, masks, gradients."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.scan import parts

L = keras.layers
BATCH, TIME, FEATURES, UNITS = 4, 9, 3, 5
CELLS = {
    "lstm": lambda **k: L.LSTM(UNITS, **k),
    "gru": lambda **k: L.GRU(UNITS, **k),
    "cell": lambda **k: L.RNN(L.SimpleRNNCell(UNITS), **k),
    "stacked": lambda **k: L.RNN([L.LSTMCell(4), L.GRUCell(UNITS)], **k),
}
MASKS = {
    "none": None,
    "right": np.arange(TIME) < np.array([[9], [4], [1], [6]]),
    "left": np.arange(TIME) >= np.array([[0], [5], [8], [3]]),
    "holed": np.random.default_rng(3).random((BATCH, TIME)) < 0.5,
    "empty": np.arange(TIME) < np.array([[9], [0], [3], [0]]),
}


def sequences(dtype="float32"):
    x = np.random.default_rng(0).normal(size=(BATCH, TIME, FEATURES))
    return tf.constant(x, dtype)


def initial_states(layer):
    rng = np.random.default_rng(1)
    sizes = keras.tree.flatten(layer.state_size)
    flat = [tf.constant(rng.normal(size=(BATCH, n)), tf.float32) for n in sizes]
    return keras.tree.pack_sequence_as(layer.state_size, flat)


def results_and_gradients(layer, weights, x, states, mask, training=True):
    flat = [] if states is None else keras.tree.flatten(states)
    with tf.GradientTape() as tape:
        tape.watch([x, *flat])
        results = keras.tree.flatten(layer(x, initial_state=states, mask=mask, training=training))
        loss = sum(
            tf.reduce_sum(tf.sin(tf.cast(r, tf.float32) * (i + 1))) for i, r in enumerate(results)
        )
    gradients = tape.gradient(loss, [*weights, x, *flat], unconnected_gradients="zero")
    return [*results, *map(tf.convert_to_tensor, gradients)]


def cases(*axes):
    """Every value of every axis with every kind of cell, mask, and shape of the output; of
    further axes, each value in turn."""
    rows = itertools.product(CELLS, MASKS, (False, True))
    return [(*row, *(axis[i % len(axis)] for axis in axes)) for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("kind", "mask", "return_sequences", "return_state", "given_states", "training", "zeros"),
    cases(
        (True, True, False), (True, False, False, True, False), (True, False, True),
        (False, False, True, True),
    ),
)  # fmt: skip
def test_without_truncation_it_is_the_keras_layer(
    kind, mask, return_sequences, return_state, given_states, training, zeros
):
    plain = CELLS[kind](return_sequences=return_sequences, return_state=return_state)
    plain.zero_output_for_mask = zeros
    x, mask = sequences(), MASKS[mask]
    plain.build(x.shape)
    layer = ak.TruncatedRNN(plain, truncation=None)
    states = initial_states(plain) if given_states else None
    got, wanted = (
        results_and_gradients(each, plain.trainable_weights, x, states, mask, training)
        for each in (layer, plain)
    )
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def slow(plain, x, states, mask, truncation):
    """Step by step: masked steps are passed over, and the state is cut as the docstring says."""
    cell, outputs = plain.cell, []
    flat = keras.tree.flatten(states if states is not None else plain.get_initial_state(BATCH))
    mask = np.ones((BATCH, TIME), bool) if mask is None else mask
    seen, counts = np.zeros(BATCH, int), mask.sum(axis=1)
    output = tf.zeros((BATCH, cell.output_size))
    for t in range(TIME):
        if plain.return_sequences:
            cut = (seen > 0) & (seen % truncation == 0) if truncation else np.ones(BATCH, bool)
        else:
            cut = (seen > 0) & (seen == counts - truncation)
        cut = (cut & mask[:, t])[:, None]
        inside = [tf.where(cut, tf.stop_gradient(s), s) for s in flat]
        packed = keras.tree.pack_sequence_as(plain.state_size, inside)
        new, after = cell(x[:, t], packed if len(keras.tree.flatten(packed)) > 1 else packed)
        valid = mask[:, t][:, None]
        output = tf.where(valid, new, output)
        flat = [tf.where(valid, a, s) for a, s in zip(keras.tree.flatten(after), flat)]
        outputs.append(output)
        seen += mask[:, t]
    return [tf.stack(outputs, 1) if plain.return_sequences else output, *flat]


@pytest.mark.parametrize(
    ("kind", "mask", "return_sequences", "truncation", "given_states", "training"),
    cases((1, 4, 20), (True, False, False, True, False), (True, True, False, True)),
)
def test_with_truncation_it_is_the_slow_reference(
    kind, mask, return_sequences, truncation, given_states, training
):
    plain = CELLS[kind](return_sequences=return_sequences, return_state=True)
    x, mask = sequences(), MASKS[mask]
    plain.build(x.shape)
    layer = ak.TruncatedRNN(plain, truncation)
    states = initial_states(plain) if given_states else None
    got = results_and_gradients(layer, plain.trainable_weights, x, states, mask, training)

    def reference(x, initial_state, mask, training):
        return slow(plain, x, initial_state, mask, truncation)

    wanted = results_and_gradients(reference, plain.trainable_weights, x, states, mask)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("truncation", [None, 4, TIME + 3])
def test_batch_and_time_may_be_unknown(kind, return_sequences, truncation, monkeypatch):
    """One graph for all sizes gives what the layer gives step by step."""
    monkeypatch.setattr(parts, "PART", 2)  # of which the sequence has many
    layer = ak.TruncatedRNN(CELLS[kind](return_sequences=return_sequences), truncation)
    layer.build((None, None, FEATURES))
    signature = [tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None, None), tf.bool)]

    @tf.function(input_signature=signature)
    def traced(x, mask):
        return results_and_gradients(layer, layer.trainable_weights, x, None, mask)

    x, mask = sequences(), tf.constant(MASKS["right"])
    for time in (TIME, 3):
        part = x[:, :time], mask[:, :time]
        wanted = results_and_gradients(layer, layer.trainable_weights, part[0], None, part[1])
        for got, want in zip(traced(*part), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_dropout_inside_the_cell(kind, return_sequences):
    """The same masks in the forward run and in the window: the truncated gradient is the full
    one where the window covers the sequence, and values are equal for every truncation."""
    plain = CELLS[kind](
        dropout=0.4, recurrent_dropout=0.3, return_sequences=return_sequences, return_state=True
    )
    x = sequences()
    plain.build(x.shape)
    found = []
    for truncation in (None, TIME, 2):
        layer = ak.TruncatedRNN(plain, truncation, seed=5)
        found.append(results_and_gradients(layer, plain.trainable_weights, x, None, None))
    for full, covering in zip(*found[:2], strict=True):
        np.testing.assert_allclose(full, covering, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[0][0], found[2][0], rtol=1e-5, atol=1e-6)
    layer = ak.TruncatedRNN(plain, 2, seed=5)
    first, second = layer(x, training=True), layer(x, training=True)
    assert np.any(np.abs(first[0] - second[0]) > 1e-3)  # a draw per call
    np.testing.assert_allclose(layer(x)[0], plain(x)[0], rtol=1e-5, atol=1e-6)


def test_dropout_masks_have_the_rate_and_the_scale():
    """A cell that only adds: the mean over many rows is that of no dropout, within its error."""
    cell = L.SimpleRNNCell(
        1, "linear", use_bias=False, kernel_initializer="ones", recurrent_initializer="ones",
        dropout=0.25,
    )  # fmt: skip
    layer = ak.TruncatedRNN(cell, 3, seed=1)
    sums = layer(np.ones((20_000, 4, 1), "float32"), training=True).numpy()
    values, counts = np.unique(np.round(sums, 4), return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 0.75], rtol=1e-4)  # one mask for all four steps
    assert abs(counts[0] / 20_000 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 20_000)


@pytest.mark.parametrize("kind", CELLS)
def test_stateful_over_three_batches(kind):
    x = sequences()
    plain = CELLS[kind](stateful=True, return_sequences=True, return_state=True)
    other = CELLS[kind](return_sequences=True, return_state=True)
    plain.build(x.shape)
    other.build(x.shape)
    other.set_weights(plain.get_weights())
    layer = ak.TruncatedRNN(other, 4, stateful=True)
    for _ in range(3):
        wanted, got = (keras.tree.flatten(each(x)) for each in (plain, layer))
        for one, expected in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)
    layer.reset_state()
    for state in keras.tree.flatten(plain.states):  # Keras's own fails where states are nested
        state.assign(tf.zeros_like(state))
    np.testing.assert_allclose(layer(x)[0], plain(x)[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="`sequences` must have the batch size 4"):
        layer(x[:2])


def test_carried_state_is_a_constant():
    layer = ak.TruncatedRNN(L.LSTM(UNITS, stateful=True), None)
    x = sequences()
    layer(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(sequences()))
    assert tape.gradient(loss, x) is None


@pytest.mark.parametrize("truncation", [None, 4])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_mixed_precision(truncation, return_sequences):
    plain = L.LSTM(UNITS, return_sequences=return_sequences, dtype="mixed_float16")
    x = sequences()
    plain.build(x.shape)
    layer = ak.TruncatedRNN(plain, truncation, dtype="mixed_float16")
    got, wanted = layer(x), plain(x)
    assert got.dtype == wanted.dtype == tf.float16
    np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_bidirectional(return_sequences, mask):
    x, mask = sequences(), MASKS[mask]
    plain = L.Bidirectional(L.LSTM(UNITS, return_sequences=return_sequences))
    ours = L.Bidirectional(
        ak.TruncatedRNN(L.LSTM(UNITS, return_sequences=return_sequences), truncation=None)
    )
    plain.build(x.shape)
    ours.build(x.shape)
    ours.set_weights(plain.get_weights())
    np.testing.assert_allclose(ours(x, mask=mask), plain(x, mask=mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_functional_model_with_masking(return_sequences, padding, tmp_path):
    """Shapes and masks go through a model, which is saved and loaded."""
    x = keras.utils.pad_sequences([[1, 2, 3, 4, 5], [3, 1], [5, 5, 5]], 7, padding=padding)

    def model(rnn):
        inputs = keras.Input((None,), dtype="int32")
        outputs = rnn(L.Embedding(6, 4, mask_zero=True)(inputs))
        return keras.Model(
            inputs, L.GlobalAveragePooling1D()(outputs) if return_sequences else outputs
        )

    plain = model(L.LSTM(UNITS, return_sequences=return_sequences))
    ours = model(ak.TruncatedRNN(L.LSTM(UNITS, return_sequences=return_sequences), 3))
    assert ours.layers[2].output.shape == plain.layers[2].output.shape
    ours.set_weights(plain.get_weights())
    ours.compile("sgd", "mse")
    ours.fit(x, np.zeros((3, UNITS)), verbose=0)
    plain.set_weights(ours.get_weights())
    ours.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (ours, loaded):
        np.testing.assert_allclose(
            each.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-5, atol=1e-6
        )


def test_characters_and_their_table_inside():
    embedding = ak.TokenEmbedding(4, vocabulary_size=6)
    layer = ak.TruncatedRNN(L.LSTM(UNITS, return_sequences=True), 3, embedding)
    x = np.array([[1, 2, 3, 4, 5, 0], [3, 1, 2, 5, 0, 0]], "int32")
    got = layer(x)
    wanted = layer.rnn(tf.gather(embedding.kernel, x))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) ** 2)
    assert all(g is not None for g in tape.gradient(loss, layer.trainable_weights))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_truncation_far_above_the_length_costs_no_more_than_the_sequence(kind, return_sequences):
    """Of a length that is not known beforehand; 10 million steps of it would not fit in memory."""
    plain = CELLS[kind](return_sequences=return_sequences)
    plain.build((None, None, FEATURES))
    found = []
    for truncation in (TIME, 10**7):
        layer = ak.TruncatedRNN(plain, truncation)
        step = tf.function(
            lambda x, layer=layer: results_and_gradients(layer, layer.weights[:3], x, None, None),
            input_signature=[tf.TensorSpec((None, None, FEATURES))], autograph=False,
        )  # fmt: skip
        found.append(step(sequences()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(
    ("embedding", "shape", "message"),
    [
        (None, (4, 9), "give scalars a last axis of 1, and characters an `embedding`"),
        (ak.TokenEmbedding(4), (4, 9), "give scalars a last axis of 1, and characters"),
        (ak.TokenEmbedding(4, vocabulary_size=7), (4, 9, 1), r"\(batch, time\), of characters"),
    ],
)
def test_sequences_of_another_rank_are_refused(embedding, shape, message, return_sequences):
    for kind in ("lstm", "gru"):
        layer = ak.TruncatedRNN(CELLS[kind](return_sequences=return_sequences), 3, embedding)
        with pytest.raises(ValueError, match=message):
            layer(np.zeros(shape, "float32"))


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"`mask` must be \(batch, time\), here \(4, 9\)"):
        ak.TruncatedRNN(L.LSTM(4), 3)(sequences(), mask=np.ones((4, 5), bool))


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
def test_it_computes_in_the_precision_of_the_layer(policy):
    for rnn in (L.LSTM(4, dtype=policy), L.GRUCell(4, dtype=policy)):
        layer = ak.TruncatedRNN(rnn, 3)
        assert layer(sequences()).dtype == layer.compute_dtype == rnn.compute_dtype
        assert ak.TruncatedRNN.from_config(layer.get_config()).dtype_policy == rnn.dtype_policy


class ChangingCell(L.Layer):
    """A cell whose steps draw from a seed, or move an average."""

    def __init__(self, inside):
        super().__init__()
        self.inside, self.state_size = inside, FEATURES

    def build(self, shape):
        self.inside.build(shape)

    def call(self, inputs, states, training=False):
        state = tf.tanh(states[0] + self.inside(inputs, training=training))
        return state, [state]


@pytest.mark.parametrize("inside", [lambda: L.Dropout(0.5), L.BatchNormalization])
def test_cells_whose_steps_change_variables_are_run_once_or_refused(inside):
    plain = L.RNN(ChangingCell(inside()), return_sequences=True)
    layer = ak.TruncatedRNN(plain, None)
    layer.build((BATCH, TIME, FEATURES))
    before = [variable.numpy() for variable in layer.non_trainable_variables]
    layer(sequences(), training=True)
    assert any(np.any(b != v) for b, v in zip(before, layer.non_trainable_variables))
    with pytest.raises(ValueError, match="a cell whose steps change no variables"):
        ak.TruncatedRNN(plain, 4)(sequences(), training=True)
    ak.TruncatedRNN(plain, 4)(sequences(), training=False)  # changes none


class ReadingCell(L.Layer):
    """A cell that reads a layer which is not its own."""

    def __init__(self, other):
        super().__init__()
        self.read, self.state_size = lambda inputs: other(inputs), UNITS

    def call(self, inputs, states):
        state = tf.tanh(states[0] + self.read(inputs))
        return state, [state]


def test_variables_that_are_not_of_the_cell_are_trained_or_refused():
    other = L.Dense(UNITS)
    other.build((None, FEATURES))
    for truncation in (None, 4):
        layer = ak.TruncatedRNN(L.RNN(ReadingCell(other), return_sequences=True), truncation)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(sequences(), training=True))
        if truncation is None:
            assert np.abs(tape.gradient(loss, other.kernel)).max() > 0
        else:
            with pytest.raises(ValueError, match="reads no variables but its own weights"):
                tape.gradient(loss, other.kernel)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_second_order_gradients_are_exact_or_refused(kind, return_sequences):
    plain, x = CELLS[kind](return_sequences=return_sequences, use_cudnn=False), sequences()
    plain.build(x.shape)

    def penalty(layer):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                squares = tf.reduce_sum(layer(x, training=True) ** 2)
            total = tf.reduce_sum(inner.gradient(squares, x) ** 2)
        return outer.gradient(total, x)

    if kind == "gru" and not return_sequences:
        got = penalty(ak.TruncatedRNN(plain, TIME))
        np.testing.assert_allclose(got, penalty(plain), rtol=1e-4, atol=1e-6)
    else:
        with pytest.raises(NotImplementedError, match="Second-order gradients do not pass"):
            penalty(ak.TruncatedRNN(plain, TIME))


RAGGED = tf.ragged.constant([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]], ragged_rank=1)
STATE, X = np.zeros((2, UNITS), "f"), np.zeros((2, TIME, 2), "f")


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (X, [STATE], "`initial_state` must be 2 tensors"),
        (X, STATE, "`initial_state` must be 2 tensors"),
        (X, [STATE[:, 1:]] * 2, f"of shapes .*{UNITS}.*Received: shapes=.*{UNITS - 1}"),
        (X, [np.zeros((3, UNITS), "f")] * 2, "`initial_state` must be"),
        (X[..., :1], None, "`sequences` must have 2 features"),
        (X[:, :0], None, "`sequences` must have at least one step"),
        (X.astype(str), None, "`sequences` must hold real numbers"),
        (X.astype("complex64"), None, "`sequences` must hold real numbers"),
        (RAGGED, None, "`sequences` must be dense; `.to_tensor"),
        (tf.sparse.from_dense(X), None, "`sequences` must be dense"),
    ],
)
def test_what_it_cannot_read_is_named(x, state, message):
    layer = ak.TruncatedRNN(L.LSTM(UNITS), 2)
    layer(X)
    with pytest.raises(ValueError, match=message):
        layer(x, initial_state=state)


def test_states_are_checked_in_a_functional_model_too():
    state = keras.Input((UNITS + 1,))
    with pytest.raises(ValueError, match="`initial_state` must be"):
        ak.TruncatedRNN(L.LSTM(UNITS), 2)(keras.Input((None, 2)), initial_state=[state] * 2)


def test_a_truncation_set_later_is_checked():
    layer = ak.TruncatedRNN(L.LSTM(UNITS), 2)
    layer.truncation = -5
    with pytest.raises(ValueError, match="`truncation` must be"):
        layer(X)


def test_what_was_traced_for_any_batch_serves_a_known_one():
    """`fit` traces for batches of any size; `train_on_batch` uses its compiled loops again."""
    inputs = keras.Input((TIME, FEATURES))
    layer = ak.TruncatedRNN(L.LSTM(UNITS, return_sequences=True), truncation=3)
    model = keras.Model(inputs, layer(L.Dense(4)(inputs)))
    model.compile("sgd", "mse")
    x, y = sequences().numpy(), np.zeros((BATCH, TIME, UNITS), "f")
    model.fit(x, y, verbose=0)
    expected = model.evaluate(x, y, verbose=0)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-5)


def test_it_has_what_a_keras_rnn_layer_has():
    plain = L.LSTM(UNITS, stateful=True)
    layer = ak.TruncatedRNN(L.LSTM(UNITS, stateful=True), 3)
    layer(sequences())
    layer.reset_states()
    assert not any(np.any(state) for state in layer.states)
    for mine, other in zip(layer.get_initial_state(2), plain.get_initial_state(2), strict=True):
        np.testing.assert_array_equal(mine, other)
    layer = ak.TruncatedRNN(L.LSTM(UNITS), 3, activity_regularizer="l2")
    outputs = layer(sequences())
    np.testing.assert_allclose(layer.losses, [0.01 * np.sum(outputs**2) / BATCH], rtol=1e-5)
    assert ak.TruncatedRNN.from_config(layer.get_config()).activity_regularizer is not None


def test_a_layer_that_was_built_for_other_features_is_named():
    built = L.LSTM(UNITS)
    built(sequences())
    assert ak.TruncatedRNN(built, 3)(sequences()).shape == (BATCH, UNITS)
    with pytest.raises(ValueError, match=f"`sequences` must have {FEATURES} features"):
        ak.TruncatedRNN(built, 3)(sequences()[..., :2])
