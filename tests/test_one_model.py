"""One model around any Keras model: the paper's network is one of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from tests.conftest import set_seed

L = keras.layers
TIME, CLASSES = 12, 3
COMMON = dict(num_anchors=2, segment_length=4, truncation=3, hidden_units=8, drop_rate=0.5)
LOSSES = {
    "r": lambda: ak.Reconstruction([L.LSTMCell(6)], **COMMON),
    "p": lambda: ak.Prediction([L.LSTMCell(6)], **COMMON),
    "lm": lambda: ak.LanguageModel(3, 8, 0.5),
    "sa": lambda: ak.SequenceAutoencoder(3, 8, 0.5),
}


def batch(n=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, TIME, 2)).astype("float32")
    return x, rng.integers(0, CLASSES, n)


@pytest.mark.parametrize("names", [("r", "p"), ("lm", "sa"), ()])
def test_a_functional_model_is_the_classifier(names):
    """The same weights and seed: losses, and weights after each of ten steps, are equal."""
    ours = ak.AuxiliaryClassifier(
        CLASSES, L.LSTM(6), 5, 8, 0.5, auxiliary=[LOSSES[n]() for n in names], seed=4,
        sampling_decay_steps=20,
    )  # fmt: skip
    ours.build((None, TIME, 2))
    inputs = keras.Input((TIME, 2))
    h = ak.TruncatedRNN(L.LSTM(6), truncation=5)(inputs)
    h = L.Dense(8, "relu")(h)
    model = keras.Model(inputs, L.Softmax()(ak.DropConnectDense(CLASSES, 0.5)(h)))
    theirs = ak.AuxiliaryModel(model, [LOSSES[n]() for n in names], seed=4, sampling_decay_steps=20)
    model.set_weights(ours.model.get_weights())
    for mine, other in zip(ours.auxiliary, theirs.auxiliary):
        other.set_weights(mine.get_weights())
    x, y = batch()
    for built in (ours, theirs):
        built.compile("sgd", "sparse_categorical_crossentropy")
    for _ in range(10):
        logs = [built.train_on_batch(x, y, return_dict=True) for built in (ours, theirs)]
        assert set(logs[0]) == set(logs[1])
        for name, value in logs[0].items():
            np.testing.assert_allclose(logs[1][name], value, rtol=1e-6, err_msg=name)
        pairs = zip(ours.trainable_weights, theirs.trainable_weights, strict=True)
        for mine, other in pairs:
            np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6, err_msg=mine.path)


def test_one_forward_run_serves_output_and_anchors(monkeypatch):
    from aux_keras.scan import windows

    runs, original = [], windows.states_at
    for module in ("aux_keras.models.loss_runs", "aux_keras.scan.windows"):
        monkeypatch.setattr(
            f"{module}.states_at", lambda *a, **k: runs.append(len(a[2])) or original(*a, **k)
        )
    inputs = keras.Input((TIME, 2))
    model = keras.Model(inputs, L.Dense(1)(ak.TruncatedRNN(L.GRU(6), 5)(inputs)))
    built = ak.AuxiliaryModel(model, [ak.Reconstruction([L.GRUCell(6)], **COMMON)])
    built.compile("sgd", "mse")
    built.test_on_batch(batch()[0], np.zeros((6, 1)))  # builds all that is built by tracing
    runs.clear()
    built.train_on_batch(batch()[0], np.zeros((6, 1)))
    assert runs == [2]  # one call: the anchors and the end


def test_a_step_that_finds_no_data_left_does_not_count():
    """Keras learns the number of batches of a generator by asking for one more."""
    built = ak.AuxiliaryClassifier(CLASSES, L.LSTM(6), 5, 8, 0.5, auxiliary=[LOSSES["r"]()])
    built.compile("sgd", "sparse_categorical_crossentropy")
    x, y = batch()
    shapes = tf.TensorSpec((None, TIME, 2)), tf.TensorSpec((None,))
    data = tf.data.Dataset.from_generator(lambda: [(x, y)] * 3, output_signature=shapes)
    for _ in range(2):
        with pytest.warns(UserWarning, match="ran out of data"):  # as it asked for one more
            built.fit(data, shuffle=False, verbose=0)
    assert int(built.training_step) == 6


def test_an_unbuilt_model_is_built_by_fit():
    model = keras.Sequential([ak.TruncatedRNN(L.LSTM(6), 5), L.Dense(CLASSES, "softmax")])
    built = ak.AuxiliaryModel(model, [LOSSES["r"]()])
    built.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(built.fit(*batch(), verbose=0).history["auxiliary_loss"][0])


@pytest.mark.parametrize("wrap", [False, True], ids=["classifier", "model"])
def test_every_step_is_traced_once(wrap, monkeypatch):
    """TensorFlow traces twice what makes variables: of the optimizer, of metrics, of losses."""
    traced, forward = [], ak.AuxiliaryModel.forward
    monkeypatch.setattr(
        ak.AuxiliaryModel, "forward", lambda *a: traced.append(a[-1]) or forward(*a)
    )
    if wrap:
        network = keras.Sequential([ak.TruncatedRNN(L.LSTM(6), 5), L.Dense(CLASSES, "softmax")])
        built = ak.AuxiliaryModel(network, [LOSSES["r"]()])
    else:
        built = ak.AuxiliaryClassifier(CLASSES, L.LSTM(6), 5, 8, 0.5, auxiliary=[LOSSES["r"]()])
    built.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = batch()
    built.pretrain(x, epochs=2, verbose=0)
    built.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    assert traced == [True, True, False]  # both phases, and evaluation


@pytest.mark.parametrize("case", ["optimizer built", "compiled again", "loaded"])
def test_what_is_partly_built_is_traced_once(case, monkeypatch, tmp_path):
    """A checkpoint needs an optimizer's variables before the first step."""
    traced, forward = [], ak.AuxiliaryModel.forward
    built = ak.AuxiliaryClassifier(CLASSES, L.LSTM(6), 5, 8, 0.5, auxiliary=[LOSSES["r"]()])
    compiled = "sparse_categorical_crossentropy", ["accuracy"]
    built.compile(keras.optimizers.Adam(), compiled[0], metrics=compiled[1])
    x, y = batch()
    if case == "optimizer built":
        built.build(x.shape)
        built.optimizer.build(built.trainable_variables)
    else:
        built.fit(x, y, verbose=0)
        built.save(tmp_path / "model.keras")
    if case == "compiled again":
        built.compile(built.optimizer, compiled[0], metrics=compiled[1])
    if case == "loaded":
        built = keras.models.load_model(tmp_path / "model.keras")
    monkeypatch.setattr(
        ak.AuxiliaryModel, "forward", lambda *a: traced.append(a[-1]) or forward(*a)
    )
    built.evaluate(x, y, verbose=0)
    built.fit(x, y, verbose=0)
    assert traced == [False, True]


def test_an_evaluation_needs_no_optimizer_and_builds_none():
    """Layers may be thawed after it."""
    head = L.Dense(CLASSES, "softmax")
    network = keras.Sequential([keras.Input((TIME, 2)), ak.TruncatedRNN(L.LSTM(6), 5), head])
    built = ak.AuxiliaryModel(network, [LOSSES["r"]()])
    built.compile(None, "sparse_categorical_crossentropy")
    assert np.isfinite(built.evaluate(*batch(), verbose=0)).all()
    head.trainable = False
    built.compile("adam", "sparse_categorical_crossentropy")
    built.evaluate(*batch(), verbose=0)
    head.trainable, before = True, head.kernel.numpy()
    built.fit(*batch(), verbose=0)
    assert np.any(head.kernel.numpy() != before)


def test_a_subclass_may_take_batches_apart_itself():
    class Mine(ak.AuxiliaryModel):
        def train_step(self, data):
            x, y = data
            return super().train_step((x["x"], y))

    network = keras.Sequential([keras.Input((TIME, 2)), L.LSTM(6), L.Dense(CLASSES, "softmax")])
    built = Mine(network, [LOSSES["r"]()])
    built.compile("adam", "sparse_categorical_crossentropy")
    x, y = batch()
    data = tf.data.Dataset.from_tensor_slices(({"x": x, "id": np.arange(6)}, y)).batch(6)
    assert np.isfinite(built.fit(data, shuffle=False, verbose=0).history["loss"][0])


def test_an_eager_metric_sees_arrays_alone():
    """Of a model that is not traced nothing is built by tracing either."""

    def numpy_accuracy(y_true, y_pred):
        return np.mean(y_true.numpy().ravel() == y_pred.numpy().argmax(-1))

    built = ak.AuxiliaryClassifier(CLASSES, L.LSTM(6), 5, 8, 0.5, auxiliary=[LOSSES["r"]()])
    loss = "sparse_categorical_crossentropy"
    built.compile("adam", loss, metrics=[numpy_accuracy], run_eagerly=True)
    logs = built.fit(*batch(), verbose=0).history
    assert 0 <= logs["numpy_accuracy"][0] <= 1


def test_dropout_inside_the_cell_trains():
    built = ak.AuxiliaryClassifier(
        CLASSES, L.LSTM(6, dropout=0.3, recurrent_dropout=0.3), 5, 8, 0.5,
        auxiliary=[LOSSES["r"](), LOSSES["lm"]()],
    )  # fmt: skip
    built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    history = built.fit(*batch(), epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


@pytest.mark.parametrize(
    ("activation", "loss", "y"),
    [
        ("linear", "mse", np.linspace(-1, 1, 6)[:, None]),
        ("sigmoid", "binary_crossentropy", np.arange(6)[:, None] % 2),
        ("linear", keras.losses.BinaryCrossentropy(from_logits=True), np.arange(6)[:, None] % 2),
    ],
)
def test_one_output(activation, loss, y):
    built = ak.AuxiliaryClassifier(1, L.LSTM(6), None, 8, 0.0, activation=activation)
    built.compile(keras.optimizers.Adam(0.02), loss)
    x, _ = batch()
    losses = built.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert np.ptp(built.predict(x, verbose=0)) > 0.1
    copy = ak.AuxiliaryClassifier.from_config(built.get_config())
    assert copy.model.activation is built.model.activation


def test_softmax_over_one_class_is_refused():
    with pytest.raises(ValueError, match="`activation` must not be 'softmax' with one class"):
        ak.AuxiliaryClassifier(1, L.LSTM(6), None, 8, 0.0)


def test_several_labels():
    built = ak.AuxiliaryClassifier(4, L.LSTM(6), None, 8, 0.0, activation="sigmoid")
    built.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    x, y = batch()[0], np.random.default_rng(1).integers(0, 2, (6, 4))
    losses = built.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_adding_problem():
    """Hochreiter & Schmidhuber 1997: the sum of two numbers that are marked; the variance of a
    sum is 1/6, so that a constant answer has the mean squared error 0.167."""
    rng = np.random.default_rng(0)
    values, marks = rng.random((2000, 30, 1)), np.zeros((2000, 30, 1))
    for row in marks:
        row[[rng.integers(0, 15), rng.integers(15, 30)]] = 1
    x, y = np.concatenate([values, marks], -1), (values * marks).sum((1, 2))[:, None]
    inputs = keras.Input((30, 2))
    outputs = L.Dense(1)(ak.TruncatedRNN(L.LSTM(32), truncation=30)(inputs))
    loss = ak.Reconstruction([L.LSTMCell(32)], 1, 8, 30, 16, 0.0)
    built = ak.AuxiliaryModel(keras.Model(inputs, outputs), [loss], auxiliary_weight=0.1)
    built.compile(keras.optimizers.Adam(0.01), "mse")
    built.fit(x[:1800], y[:1800], batch_size=50, epochs=14, verbose=0)
    error = np.mean((built.predict(x[1800:], verbose=0) - y[1800:]) ** 2)
    assert error < 0.02, error


def test_a_label_for_every_step():
    """Whether an odd number of ones came so far: the state decides, step by step, and with a
    truncation of 8 it is learnt from stretches of 8 steps; 0.5 is a guess."""
    x = np.random.default_rng(0).integers(0, 2, (600, 24, 1))
    y = np.cumsum(x, axis=1) % 2
    inputs = keras.Input((24, 1))
    h = ak.TruncatedRNN(L.LSTM(16, return_sequences=True), truncation=8)(inputs)
    loss = ak.Prediction([L.LSTMCell(16)], 1, 4, 8, 8, 0.0)
    built = ak.AuxiliaryModel(
        keras.Model(inputs, L.Dense(1, "sigmoid")(h)), [loss], auxiliary_weight=0.1
    )
    built.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["binary_accuracy"])
    built.fit(x[:500], y[:500], batch_size=50, epochs=24, verbose=0)
    assert built.evaluate(x[500:], y[500:], verbose=0, return_dict=True)["binary_accuracy"] > 0.95


@pytest.mark.parametrize("layer", [L.LSTM(4, dropout=0.5), L.GRU(4), ak.URNNCell(3)])
def test_losses_without_cells_have_those_of_the_main_rnn(layer, tmp_path):
    """Two for a reconstruction, one for a stacked prediction; trained as if they were given."""
    kind = type(layer.cell if isinstance(layer, L.RNN) else layer)
    x, y = np.random.default_rng(0).random((4, 9, 2), "float32"), np.arange(4) % 3

    def model(r_cells=None, p_cells=None):
        sizes = dict(segment_length=3, truncation=2, hidden_units=8)
        losses = [ak.Reconstruction(r_cells, **sizes), ak.Prediction(p_cells, **sizes)]
        rnn = type(layer).from_config({**layer.get_config(), "seed": 1})
        built = ak.AuxiliaryClassifier(
            classes=3, rnn=rnn, supervised_truncation=3, classifier_units=4, drop_rate=0.5,
            auxiliary=losses,
        )  # fmt: skip
        built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        built.build((None, 9, 2))
        return built

    default = model()
    cells = [loss.decoder.cells for loss in default.auxiliary]
    assert [len(found) for found in cells] == [2, 1]
    for cell in cells[0] + cells[1]:
        assert type(cell) is kind and cell.state_size == default.layer.cell.state_size
        assert not getattr(cell, "dropout", 0)
    if kind is ak.URNNCell:
        return  # its permutation is drawn anew
    plain = {"units": 4}
    given = model([kind(**plain), kind(**plain)], [kind(**plain)])
    given.set_weights(default.get_weights())
    default.save(tmp_path / "model.keras")
    revived = keras.models.load_model(tmp_path / "model.keras")
    for step in range(2):
        losses = [m.train_on_batch(x, y, return_dict=True) for m in (default, given, revived)]
        assert losses[0] == losses[1] == losses[2], step


def scaled(target, first, **options):
    layers = [keras.Input((TIME, 2)), *first, L.LSTM(6), L.Dense(CLASSES, "softmax")]
    set_seed(3)
    model = ak.AuxiliaryModel(keras.Sequential(layers), [LOSSES["r"]()], target=target, **options)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def test_features_are_reconstructed_as_if_they_were_the_tokens():
    """A `Normalization` in the model computes what normalized tokens do without it."""
    x, y = batch()
    raw = 1000 + 500 * x
    inside = scaled("features", [L.Normalization(mean=1000.0, variance=500.0**2)])
    outside = scaled("inputs", [])
    for mine, other in zip(inside.trainable_weights, outside.trainable_weights, strict=True):
        other.assign(mine)
    for model in (inside, outside):
        model.pretrain(raw if model is inside else x, epochs=2, shuffle=False, verbose=0)
    logs = [
        model.fit(tokens, y, epochs=2, shuffle=False, verbose=0).history
        for model, tokens in ((inside, raw), (outside, x))
    ]
    for name, values in logs[0].items():
        np.testing.assert_allclose(values, logs[1][name], rtol=1e-4, err_msg=name)
    with pytest.warns(UserWarning, match="more than 100 times the supervised loss.*target='feat"):
        scaled("inputs", inside.model.layers[:1]).fit(raw, y, verbose=0)
    scaled("inputs", inside.model.layers[:1], auxiliary_weight=1e-9).fit(raw, y, verbose=0)


def test_features_may_have_another_width_than_the_tokens(tmp_path):
    model = scaled("features", [L.Conv1D(5, 3, padding="same")])
    x, y = batch()
    model.fit(x, y, verbose=0)
    assert model.reconstruct(x, [6] * len(x)).shape == (len(x), 4, 5)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").target == "features"
    with pytest.raises(ValueError, match="`target` must be one of .* target='tokens'"):
        scaled("tokens", [])


class Late(keras.Model):
    """Without a `build`: Keras builds its layers when they are called."""

    def __init__(self):
        super().__init__()
        self.body = [L.LSTM(6), L.Dense(CLASSES, "softmax")]

    def call(self, x):
        tokens, *more = x.values() if isinstance(x, dict) else [x]
        return self.body[1](keras.ops.concatenate([self.body[0](tokens), *more], -1))


@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
@pytest.mark.parametrize("target", ["inputs", "features"])
def test_a_subclass_without_build_is_built_before_its_optimizer(target, run_eagerly):
    x, y = batch()
    for data, tokens in ((x, None), ({"tokens": x, "more": x[:, 0]}, "tokens")):
        model = ak.AuxiliaryModel(Late(), [LOSSES["r"]()], tokens=tokens, target=target)
        momentum = keras.optimizers.SGD(0.01, momentum=0.9)  # a variable for every weight
        model.compile(momentum, "sparse_categorical_crossentropy", run_eagerly=run_eagerly)
        model.train_on_batch(data, y)
        assert len(model.optimizer.variables) - 2 == len(model.trainable_weights)
        assert len(model.model.trainable_weights) == 5


def test_an_rnn_that_is_not_called_is_named():
    model = Late()
    model.unused = L.GRU(3, name="unused")
    x, y = batch()
    model = ak.AuxiliaryModel(model, [LOSSES["r"]()], rnn="unused", target="features")
    model.compile("sgd", "sparse_categorical_crossentropy")
    named = pytest.raises(ValueError, match="`rnn` must be called by the model. .*'unused'")
    with named, pytest.warns(UserWarning, match="unbuilt state"):  # Keras's
        model.fit(x, y, verbose=0)
