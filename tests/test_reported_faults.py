"""Faults that users of Keras and of other packages have reported: ours come out right."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.data import dbpedia, prepared, transforms
from aux_keras.losses.reconstruction import Reconstruction
from aux_keras.models import building
from aux_keras.scan import rows
from aux_keras.serving import predict
from tests.conftest import set_seed

L = keras.layers
X = np.random.default_rng(0).random((8, 9, 2), "float32")
Y = np.arange(8) % 3


def reconstruction(cell=None):
    return Reconstruction(
        [cell or L.LSTMCell(4)], num_anchors=1, segment_length=3, truncation=3, hidden_units=None,
        drop_rate=0.0,
    )  # fmt: skip


def wrapped(layer, inputs=None, losses=True, **options):
    """An `AuxiliaryModel` around a layer and a softmax over three classes."""
    inputs = keras.Input((9, 2)) if inputs is None else inputs
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(layer(inputs)))
    return ak.AuxiliaryModel(model, [reconstruction()] if losses is True else losses, **options)


def classifier(**options):
    given = dict(classes=3, rnn=L.LSTM(4), supervised_truncation=3, classifier_units=4,
                 drop_rate=0.0)  # fmt: skip
    return ak.AuxiliaryClassifier(**{**given, **options})


def fit(model, x=X, y=Y, **options):
    if not model.compiled:
        model.compile("sgd", "sparse_categorical_crossentropy")
    return model.fit(x, y, batch_size=8, shuffle=False, verbose=0, **options).history


class Anneal(keras.callbacks.Callback):
    def __init__(self, *weights):
        self.weights = weights

    def on_epoch_begin(self, epoch, logs=None):
        self.model.auxiliary_weight = self.weights[epoch]


def test_a_callback_anneals_the_weight_of_the_auxiliary_losses():
    weights = [1.0, 0.0, 5.0]
    model = classifier(auxiliary=[reconstruction()])
    history = fit(model, epochs=3, callbacks=[Anneal(*weights)])
    got = [
        (loss - supervised) / auxiliary
        for loss, supervised, auxiliary in zip(
            history["loss"], history["supervised_loss"], history["auxiliary_loss"]
        )
    ]
    np.testing.assert_allclose(got, weights, atol=1e-5)
    assert model.get_config()["auxiliary_weight"] == 5.0
    for wrong in (-1, float("nan"), "a"):
        with pytest.raises(ValueError, match="`auxiliary_weight` must be a finite number"):
            model.auxiliary_weight = wrong


def test_a_weight_of_zero_may_be_raised_whenever_it_became_zero(tmp_path):
    """While the model is made, or before it was saved; compiled steps are made anew."""
    annealed = classifier(auxiliary=[reconstruction()])
    fit(annealed, epochs=2, callbacks=[Anneal(1.0, 0.0)])
    annealed.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for model in (loaded, classifier(auxiliary=[reconstruction()], auxiliary_weight=0)):
        assert "auxiliary_loss" not in fit(model)
        assert "auxiliary_loss" not in model.evaluate(X, Y, verbose=0, return_dict=True)
        history = fit(model, epochs=3, callbacks=[Anneal(0.0, 2.0, 2.0)])
        assert len(history["loss"]) == 3 and len(history["auxiliary_loss"]) == 2
        np.testing.assert_allclose(
            history["loss"][2],
            history["supervised_loss"][2] + 2 * history["auxiliary_loss"][1], rtol=1e-5,
        )  # fmt: skip
        assert "auxiliary_loss" in model.evaluate(X, Y, verbose=0, return_dict=True)


def test_activity_regularizers_count():
    """The term of the last output, over the batch, as Keras's own layer has it."""
    penalty = keras.regularizers.L2(10.0)
    losses, outputs = [], None
    for regularizer in (None, penalty):
        set_seed(0)
        model = classifier(rnn=L.LSTM(4, activity_regularizer=regularizer))
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        model.build((None, 9, 2))
        outputs = model.encoder(X) if outputs is None else outputs
        losses.append(fit(model)["loss"][0])
    np.testing.assert_allclose(losses[1] - losses[0], penalty(outputs) / len(X), rtol=1e-4)


@pytest.mark.parametrize("weight", [1.0, 0.0])
@pytest.mark.parametrize("given", [True, False])
def test_a_decoder_is_regularized_where_its_own_cells_say_so(given, weight):
    """Not by the main cell's regularizers, and not while its loss is left out."""
    own = L.LSTMCell(4, kernel_regularizer="l2")
    loss = Reconstruction([own] if given else None, num_anchors=1, segment_length=3)
    model = wrapped(L.LSTM(4, kernel_regularizer="l2"), losses=[loss], auxiliary_weight=weight)
    for each in (model.model, model):
        each.compile("sgd", "sparse_categorical_crossentropy")
    (cell, *_), alone = loss.decoder.cells, model.model.evaluate(X, Y, verbose=0)
    before, counts = cell.kernel.numpy(), given and weight > 0
    found = model.evaluate(X, Y, verbose=0, return_dict=True)["supervised_loss"]
    penalty = counts * 0.01 * np.sum(before**2)
    np.testing.assert_allclose(found, alone + penalty, rtol=1e-5)
    fit(model)
    assert np.any(cell.kernel.numpy() != before) == (weight > 0)


def test_a_decoder_is_not_frozen_with_the_main_cell():
    layer = L.RNN([L.LSTMCell(4), L.GRUCell(4)])
    layer.trainable = False
    loss = Reconstruction(num_anchors=1, segment_length=3)
    model = wrapped(layer, losses=[loss])
    assert not layer.trainable_weights
    assert all(cell.trainable for cell in loss.decoder.cells)
    assert len(loss.trainable_weights) == len(loss.weights) > 10
    fit(model)


@pytest.mark.parametrize("truncated", [True, False])
def test_pretraining_leaves_moving_averages_behind_the_layer_alone(truncated):
    layer = ak.TruncatedRNN(L.LSTM(4), 3) if truncated else L.LSTM(4)
    inputs, before, after = keras.Input((9, 2)), L.BatchNormalization(), L.BatchNormalization()
    outputs = L.Dense(3, activation="softmax")(after(layer(before(inputs))))
    model = ak.AuxiliaryModel(keras.Model(inputs, outputs), [reconstruction()])
    sgd = keras.optimizers.SGD(0.01)
    model.compile(sgd, "sparse_categorical_crossentropy", run_eagerly=True)
    model.pretrain(X, verbose=0, shuffle=False)
    np.testing.assert_array_equal(after.moving_mean, np.zeros(4))
    assert np.any(before.moving_mean)  # which the losses read through, and train
    fit(model)
    assert np.any(after.moving_mean)


class Sum(L.Layer):
    """A cell with nothing but what Keras asks for."""

    state_size = 4

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, tokens, states):
        state = tokens @ self.kernel + states[0]
        return state, [state]


def test_cells_with_a_state_size_alone():
    layer, stock = ak.TruncatedRNN(Sum(), None), L.RNN(Sum())
    layer(X), stock(X)
    stock.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(X), stock(X), rtol=1e-5)
    assert np.isfinite(fit(wrapped(layer, losses=[reconstruction(L.GRUCell(4))]))["loss"])


def test_cells_with_a_matrix_for_a_state_are_refused():
    with pytest.raises(ValueError, match=r"the input of shape \(batch, time, features\)"):
        wrapped(L.ConvLSTM1D(2, 2), keras.Input((9, 4, 2)))

    class Matrix(Sum):
        def get_initial_state(self, batch_size=None):
            return [tf.zeros((batch_size, 2, 2))]

    with pytest.raises(ValueError, match=r"must be \(batch, units\)"):
        ak.TruncatedRNN(Matrix(), 3)(X)


def test_a_decoder_of_another_kind_is_named():
    with pytest.raises(ValueError, match="GRUCell with a GRU, LSTMCell with an LSTM"):
        wrapped(L.GRU(4))


def test_ids_of_words_in_sentences_are_refused():
    inputs = keras.Input((5, 7), dtype="int32")
    words = L.TimeDistributed(L.GlobalAveragePooling1D())(
        L.TimeDistributed(L.Embedding(11, 4))(inputs)
    )
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(L.LSTM(4)(words)))
    model = ak.AuxiliaryModel(model, [reconstruction()])
    with pytest.raises(ValueError, match="must be one sequence of characters or words"):
        fit(model, np.ones((8, 5, 7), "int32"))


def test_texts_and_univariate_series_are_told_what_they_lack():
    texts = L.TextVectorization(max_tokens=20, output_sequence_length=6)
    texts.adapt(["a b c d"])
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, L.Dense(3)(L.LSTM(4)(L.Embedding(20, 4)(texts(inputs)))))
    with pytest.raises(ValueError, match="texts become these before the model"):
        ak.AuxiliaryModel(model, [reconstruction()])
    inputs = keras.Input((9,))
    model = keras.Model(inputs, L.Dense(3)(L.LSTM(4)(L.Reshape((9, 1))(inputs))))
    with pytest.raises(ValueError, match=r"numbers need a last axis, \(batch, time, 1\)"):
        ak.AuxiliaryModel(model, [reconstruction()])


def test_boolean_tokens_are_numbers():
    """As for Keras: the same losses as with zeros and ones."""
    histories = []
    for x in (X > 0.5, (X > 0.5).astype("float32")):
        set_seed(0)
        histories.append(fit(classifier(auxiliary=[reconstruction()]), x))
    assert histories[0] == histories[1]


def test_float64_is_refused_by_name():
    keras.config.set_floatx("float64")
    try:
        with pytest.raises(ValueError, match="Auxiliary losses run in float32 or half precision"):
            wrapped(L.LSTM(4))
    finally:
        keras.config.set_floatx("float32")


def test_ragged_datasets_are_told_to_be_padded():
    ragged = tf.data.Dataset.from_tensor_slices((tf.ragged.constant([[1, 2, 3], [1, 2]]), [0, 1]))
    inputs = keras.Input((None,), dtype="int32")
    layer = keras.Sequential([L.Embedding(11, 4), L.LSTM(4)])
    for model in (wrapped(layer, inputs), classifier()):
        with pytest.raises(ValueError, match="must be right-padded, by `padded_batch`"):
            fit(model, ragged.ragged_batch(2), None)


@pytest.mark.parametrize("unknown", ["x", "y"])
def test_datasets_of_unknown_rank_are_told_to_have_one(unknown):
    shapes = {"x": X.shape, "y": Y.shape, unknown: None}
    data = tf.data.Dataset.from_generator(
        lambda: [(X, Y)],
        output_signature=(tf.TensorSpec(shapes["x"]), tf.TensorSpec(shapes["y"], tf.int32)),
    )
    for model in (wrapped(L.LSTM(4)), classifier()):
        with pytest.raises(ValueError, match="must have ranks that are known"):
            fit(model, data, None)


def test_unknown_lengths_must_be_those_of_the_tokens():
    """Of a convolution with a stride, whose steps are none of the tokens'."""
    inputs = keras.Input((None, 2))
    model = wrapped(keras.Sequential([L.Conv1D(3, 2, strides=2), L.LSTM(4)]), inputs)
    data = tf.data.Dataset.from_generator(
        lambda: [(X, Y)],
        output_signature=(tf.TensorSpec((None, None, 2)), tf.TensorSpec((None,), tf.int32)),
    )
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    with pytest.raises(Exception, match="`rnn` must read a time step for every token"):
        model.fit(data, shuffle=False, verbose=0)


def test_datasets_may_leave_out_labels_and_weights_by_none():
    for model in (wrapped(L.LSTM(4)), classifier()):
        model.compile("sgd", "sparse_categorical_crossentropy")
        expected = model.predict(X, verbose=0)
        for rest in ((Y, None), (None,)):
            data = tf.data.Dataset.from_tensors(X).map(lambda x, rest=rest: (x, *rest))
            np.testing.assert_allclose(model.predict(data, verbose=0), expected, rtol=1e-6)


def test_a_class_may_be_ignored_by_both_models():
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    for model in (wrapped(L.LSTM(4)), classifier()):
        model.compile("sgd", loss, run_eagerly=True)
        assert np.isfinite(fit(model, y=np.where(np.arange(len(Y)) % 2, Y, -1))["loss"][0])


def test_labels_of_logits_are_checked_too():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for model in (classifier(activation="linear"), wrapped(L.LSTM(4))):
        model.compile("sgd", loss)
        with pytest.raises(ValueError, match="`y` holds a label outside"):
            fit(model, y=Y + 1)


def test_no_batch_is_read_to_build_what_is_built():
    class Unread(keras.utils.PyDataset):
        def __getitem__(self, index):
            raise AssertionError("a batch was read")

    model = classifier()
    model.build((None, 9, 2))
    building.build_for(model, Unread())
    with pytest.raises(AssertionError, match="a batch was read"):
        building.build_for(classifier(), Unread())


def test_a_sequence_that_is_all_masked_has_finite_features():
    block = ak.TransformerBlock(ak.SelfAttention(num_heads=2), 8, drop_rate=0.1)
    encoder = ak.TransformerEncoder(ak.TokenEmbedding(4), [block])
    mask = np.arange(9) < np.array([9, 0, 3])[:, None]
    with tf.GradientTape() as tape:
        features = encoder(X[:3], mask=tf.constant(mask), training=True)
    np.testing.assert_array_equal(features[1], 0)
    gradients = tape.gradient(features, encoder.trainable_weights)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_masked_sequence_has_no_token_to_predict():
    inputs = keras.Input((None,), dtype="int32")
    layer = keras.Sequential([L.Embedding(9, 4, mask_zero=True), L.LSTM(4)])
    model = wrapped(layer, inputs, [ak.LanguageModel(None, None, 0.0)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [0] * 5]), np.zeros(3)
    found = [model.evaluate(x[:n], y[:n], return_dict=True, verbose=0) for n in (3, 2)]
    np.testing.assert_allclose(found[0]["auxiliary_loss"], found[1]["auxiliary_loss"], rtol=1e-5)


def test_masks_of_dropout_do_not_depend_on_the_number_of_cores(monkeypatch):
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(rows, "core_count", lambda n=cores: n)
        set_seed(0)
        losses = [ak.LanguageModel(None, None, 0.0), reconstruction()]
        model = classifier(rnn=L.LSTM(4, dropout=0.5), auxiliary=losses, seed=1)
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        x, y = np.repeat(X[:1], 16, axis=0), np.repeat(Y[:1], 16)
        found.append(model.train_on_batch(x, y, return_dict=True)["auxiliary_loss"])
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ak.TokenEmbedding(4), lambda: ak.layers.DropConnectDense(4, 0.5),
        lambda: ak.layers.TokenReadout(4, 3, 0.5),
    ],
)  # fmt: skip
def test_layers_without_time_hand_masks_on(make):
    x = np.where(np.arange(9)[:, None] < 5, X, 0)
    alone = keras.Sequential([keras.Input((None, 2)), make(), L.LSTM(4)])
    masked = keras.Sequential([keras.Input((None, 2)), L.Masking(), *alone.layers])
    np.testing.assert_allclose(masked(x), alone(x[:, :5]), rtol=1e-5, atol=1e-6)


def test_losses_by_the_names_of_outputs():
    inputs = keras.Input((9, 2))
    h = L.LSTM(4)(inputs)
    outputs = [L.Dense(3, activation="softmax", name="a")(h), L.Dense(1, name="b")(h)]
    model = ak.AuxiliaryModel(keras.Model(inputs, outputs), [reconstruction()])
    losses = {"a": "sparse_categorical_crossentropy", "b": "mse"}
    model.compile("sgd", losses, run_eagerly=True)
    history = fit(model, X, {"a": Y, "b": Y.astype("float32")})
    np.testing.assert_allclose(
        history["a_loss"][0] + history["b_loss"][0], history["supervised_loss"][0], rtol=1e-5
    )


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_models_of_several_inputs_are_built_by_their_input_shape(as_dictionary, tmp_path):
    series, number = keras.Input((9, 2), name="series"), keras.Input((3,), name="number")
    outputs = L.Dense(3, activation="softmax")(L.Concatenate()([L.LSTM(4)(series), number]))
    inputs = {"series": series, "number": number} if as_dictionary else [series, number]
    model = keras.Model(inputs, outputs)
    model = ak.AuxiliaryModel(model, [reconstruction()], tokens="series" if as_dictionary else 0)
    assert model.built
    model.build(model.model.input_shape)
    x = {"series": X, "number": np.ones((8, 3))} if as_dictionary else [X, np.ones((8, 3))]
    assert fit(model, x, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])


def test_names_of_labels_are_plain_strings():
    given = {
        "image_shape": (3, 3, 2),
        "scale": np.float32(2),
        "label_names": np.unique(["a", "b", "c"]),
    }
    model = classifier(preprocessing=given)
    assert model.preprocessing == {
        "image_shape": [3, 3, 2], "scale": 2.0, "label_names": ["a", "b", "c"]}  # fmt: skip
    for wrong in ({0: "a", 1: "b", 2: "c"}, ["a", "b"], [1, 2, 3]):
        with pytest.raises(ValueError, match="a name for every class in 'label_names'"):
            classifier(preprocessing={"label_names": wrong})
    with pytest.raises(ValueError, match="`preprocessing` must hold JSON values"):
        classifier(preprocessing={"scale": object()})


def test_a_nul_byte_does_not_end_a_text():
    codes = transforms.encode_text(["abc\0de", "\0", "x"]).to_list()
    assert codes == [[1, 2, 3, transforms.OTHER, 4, 5], [transforms.OTHER], [24]]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no row"),
     (b'1,"a","b"\n' * 3 + b'1,"\xff","b"\n' + b'1,"a","b"\n' * 9, "row 4: it is not UTF-8")],
)  # fmt: skip
def test_csv_files_are_refused_by_row(content, message, tmp_path):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(dbpedia.read_rows(tmp_path / "train.csv"))


def test_lines_without_end_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "LINE_BYTES", 10)
    (tmp_path / "texts").write_bytes(b"short\n" + b"x" * 35 + b"\nnine byte\n" + b"y" * 30)
    with open(tmp_path / "texts", "rb") as file:
        found = [(name, str(line)) for name, line in predict.lines("f", file)]
    assert [name for name, _ in found] == ["f:1", "f:2", "f:3", "f:4"]
    assert [line for _, line in found] == [
        str(b"short\n"), "this line is longer than 10 bytes", str(b"nine byte\n"),
        "this line is longer than 10 bytes"]  # fmt: skip


@pytest.mark.parametrize("name", ["stripes", "stripes:1.0.0", "stripes:1.*.*"])
def test_data_sets_are_named_as_tfds_names_them(name, tmp_path):
    from tests.test_data import Stripes, prepare

    prepare(Stripes, tmp_path)
    assert prepared.builder(name, tmp_path, download=False).info.full_name == "stripes/1.0.0"
    with pytest.raises(FileNotFoundError, match="`mnist:9.9.9` is not in"):
        prepared.builder("mnist:9.9.9", tmp_path, download=False)


TWO = {"a": X, "b": X[:, 0]}


@pytest.mark.parametrize("made", [list, dict], ids=["list", "dict"])
@pytest.mark.parametrize("tokens", [0, "a"])
def test_inputs_of_a_functional_model_by_name_and_by_position(made, tokens):
    """As Keras takes them, whichever way the model was made."""
    inputs = {"a": keras.Input((9, 2), name="a"), "b": keras.Input((2,), name="b")}
    h = L.Concatenate()([L.LSTM(4)(inputs["a"]), inputs["b"]])
    outputs = L.Dense(3, activation="softmax")(h)
    network = keras.Model(inputs if made is dict else [*inputs.values()], outputs)
    model = ak.AuxiliaryModel(network, [reconstruction()], tokens=tokens)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    by_position = [[*TWO.values()]] if made is list else []
    losses = [model.test_on_batch(x, Y, return_dict=True) for x in (TWO, *by_position)]
    assert losses[0] == pytest.approx(losses[-1])
    assert losses[0]["auxiliary_loss"] > 0
    assert model.reconstruct(TWO, [5] * 8).shape == (8, 3, 2)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras's, of the dictionary
@pytest.mark.parametrize("tokens", [None, 0, "series"])
def test_one_input_in_a_list_or_a_dictionary(tokens):
    inputs = keras.Input((9, 2), name="series")
    outputs = L.Dense(3, activation="softmax")(L.LSTM(4)(inputs))
    model = ak.AuxiliaryModel(keras.Model([inputs], outputs), [reconstruction()], tokens=tokens)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    given = (X, [X], {"series": X})
    losses = [model.test_on_batch(x, Y, return_dict=True) for x in given]
    assert losses[0] == pytest.approx(losses[1]) and losses[0] == pytest.approx(losses[2])


@pytest.mark.parametrize("loss", [ak.Reconstruction, ak.Prediction])
def test_decoders_of_a_stack_of_cells_are_stacks_of_their_own(loss):
    """Not built for what the stack reads, and without its dropout."""
    stack = L.RNN([L.GRUCell(4), L.GRUCell(5, dropout=0.2)])
    model = wrapped(stack, losses=[loss(segment_length=3, truncation=3, hidden_units=4)])
    cells = [cell for stack in model.auxiliary[0].decoder.cells for cell in stack.cells]
    assert [cell.units for cell in cells] == [4, 5] * (len(cells) // 2)
    assert not any(cell.dropout for cell in cells)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(X, Y))[0]


class Bare(L.Layer):
    """A cell without a `get_config`, whose arguments Keras cannot tell."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, inputs, states):
        output = keras.ops.tanh(inputs @ self.kernel + states[0])
        return output, [output]


def test_what_cannot_be_made_anew_is_named():
    with pytest.raises(ValueError, match="`cells` must be given where the main RNN's cell cannot"):
        wrapped(L.RNN(Bare(4)), losses=[ak.Reconstruction(segment_length=3)])

    class Own(keras.optimizers.SGD):
        def __init__(self, extra):
            super().__init__()

    model = wrapped(L.LSTM(4))
    model.compile(Own(3), "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(ValueError, match="`optimizer` must be given to `pretrain` where"):
        model.pretrain(X, verbose=0)
    model.pretrain(X, verbose=0, optimizer=Own(3))


@pytest.mark.parametrize("name", ["reconstruction", "auxiliary", "supervised"])
def test_an_output_with_the_name_of_a_loss_is_named(name):
    inputs = keras.Input((9, 2))
    h = L.LSTM(4)(inputs)
    outputs = [L.Dense(1, name=name)(h), L.Dense(1, name="other")(h)]
    ak.AuxiliaryModel(keras.Model(inputs, outputs[0]), [reconstruction()])  # logged as `loss`
    with pytest.raises(ValueError, match=f"`auxiliary` needs other names .*'{name}'"):
        ak.AuxiliaryModel(keras.Model(inputs, outputs), [reconstruction()])


def test_a_network_with_a_loss_of_its_own_is_warned_of():
    class Own(keras.Model):
        def compute_loss(self, *arguments, **options):
            return 7 + super().compute_loss(*arguments, **options)

    inputs = keras.Input((9, 2))
    network = Own(inputs, L.Dense(3)(L.LSTM(4)(inputs)))
    with pytest.warns(UserWarning, match="`model` has its own compute_loss"):
        ak.AuxiliaryModel(network, [reconstruction()])


def test_arguments_of_compile_by_position():
    for model in (wrapped(L.LSTM(4)), classifier()):
        model.compile("sgd", "sparse_categorical_crossentropy", None, ["accuracy"])
        assert "accuracy" in model.test_on_batch(X, Y, return_dict=True)


def test_a_sparse_input_beside_the_tokens():
    inputs = [keras.Input((9, 2)), keras.Input((8,), sparse=True)]
    h = L.Concatenate()([L.LSTM(4)(inputs[0]), L.Dense(2)(inputs[1])])
    network = keras.Model(inputs, L.Dense(3, activation="softmax")(h))
    model = ak.AuxiliaryModel(network, [reconstruction()], tokens=0)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    for value in (1.0, np.inf):
        x = np.where(np.arange(18).reshape(9, 2) == 5, value, X).astype("f")
        data = tf.data.Dataset.from_tensor_slices(((x, tf.sparse.eye(8)), Y)).batch(8)
        if value == 1:
            assert np.isfinite(model.evaluate(data, verbose=0)).all()
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
                model.evaluate(data, verbose=0)


def test_a_model_may_clean_what_no_loss_reads():
    """An input beside the tokens; the tokens, where there is no loss."""
    spoilt = np.where(X > 0.9, np.nan, X)
    inputs = {name: keras.Input((9, 2), name=name) for name in ("tokens", "side")}
    clean = [L.Lambda(keras.ops.nan_to_num)(each) for each in inputs.values()]
    h = L.Concatenate()([L.LSTM(4)(each) for each in clean])
    network = keras.Model(inputs, L.Dense(3, activation="softmax")(h))
    rnn = next(layer.name for layer in network.layers if isinstance(layer, L.LSTM))
    for losses, weight, x in (([reconstruction()], 1, X), ([reconstruction()], 0, spoilt),
                              ([], 1, spoilt)):  # fmt: skip
        model = ak.AuxiliaryModel(
            network, losses, rnn=rnn, tokens="tokens", auxiliary_weight=weight
        )
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        given = {"tokens": x, "side": spoilt}
        for data in ((given, Y), (tf.data.Dataset.from_tensors((given, Y)),)):
            assert np.isfinite(model.evaluate(*data, verbose=0)).all()
        assert np.isfinite(model.predict({"tokens": spoilt, "side": spoilt}, verbose=0)).all()


SPARSE = keras.losses.sparse_categorical_crossentropy


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (SPARSE, lambda y: y),
        ("SparseCategoricalCrossentropy", lambda y: y),
        (keras.losses.SparseCategoricalCrossentropy(name="mine"), lambda y: y),
        ([SPARSE], lambda y: (y,)),
        ({"key": SPARSE}, lambda y: {"key": y}),
        ({"key": SPARSE, "other": "mse"}, lambda y: {"key": y, "other": np.zeros((8, 3))}),
        (["mse", SPARSE], lambda y: (np.zeros((8, 3)), y)),
        ({"a": SPARSE, "b": "mse"}, lambda y: {"a": y, "b": np.zeros((8, 3))}),
    ],
)
def test_labels_are_checked_however_the_loss_is_given(loss, targets):
    inputs = keras.Input((9, 2))
    h = L.LSTM(4)(inputs)
    outputs = [L.Dense(3, activation="softmax", name=name)(h) for name in "ab"]
    if isinstance(loss, (list, dict)):
        outputs = outputs[: len(loss)]
        outputs = dict(zip(loss, outputs)) if "key" in loss else outputs
    else:
        outputs = outputs[0]
    model = ak.AuxiliaryModel(keras.Model(inputs, outputs))
    model.compile("sgd", loss, run_eagerly=True)
    for as_data in (lambda *xy: xy, lambda *xy: (tf.data.Dataset.from_tensors(xy),)):
        assert np.isfinite(model.evaluate(*as_data(X, targets(Y)), verbose=0)).all()
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="`y` holds a label"):
            model.evaluate(*as_data(X, targets(Y + 1)), verbose=0)


def test_labels_of_every_step_and_real_ones_are_checked():
    layer = ak.TruncatedRNN(L.LSTM(4, return_sequences=True), 3)
    steps, one = wrapped(layer, losses=[]), wrapped(L.LSTM(4), losses=[])
    for model, y in ((steps, np.full((8, 9), 3)), (one, np.full(8, 3.0)), (classifier(), Y - 1.0)):
        model.compile("sgd", "sparse_categorical_crossentropy")
        for data in ((X, y), (tf.data.Dataset.from_tensors((X, y)),)):
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="`y` holds a"):
                model.evaluate(*data, verbose=0)


def test_no_sequences_are_named_as_in_keras():
    for layer in (L.LSTM(4), ak.TruncatedRNN(L.LSTM(4), 3)):
        with pytest.raises(ValueError, match="Inputs to a layer should be tensors"):
            layer(None)


@pytest.mark.parametrize("reductions", [["mean_with_sample_weight"] * 2, ["mean", "sum"]])
def test_a_loss_that_replicas_cannot_share_is_refused(reductions):
    inputs = keras.Input((9, 2))
    h = L.LSTM(4)(inputs)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = ak.AuxiliaryModel(keras.Model(inputs, [L.Dense(1)(h), L.Dense(1)(h)]))
        losses = [keras.losses.MeanSquaredError(reduction) for reduction in reductions]
        with pytest.raises(ValueError, match="`loss` must have the reduction"):
            model.compile("sgd", losses)


def test_a_model_may_clean_its_inputs_where_features_are_predicted():
    x = X.copy()
    x[0, 0, 0] = np.nan
    inputs = keras.Input((9, 2))
    clean = L.Lambda(keras.ops.nan_to_num)(inputs)
    network = keras.Model(inputs, L.Dense(3, activation="softmax")(L.LSTM(4)(clean)))
    for target in ("features", "inputs"):
        model = ak.AuxiliaryModel(network, [reconstruction()], target=target)
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        for data in ((x, Y), (tf.data.Dataset.from_tensors((x, Y)),)):
            if target == "features":
                assert np.isfinite(model.evaluate(*data, verbose=0)).all()
            else:
                with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="finite"):
                    model.evaluate(*data, verbose=0)


def test_data_that_do_not_tell_their_number_of_features():
    """A generator's; the layer is built."""
    labels = np.tile(Y[:, None], (1, 9))
    specs = tf.TensorSpec((None, None, None)), tf.TensorSpec((None, None), tf.int64)
    data = tf.data.Dataset.from_generator(lambda: iter([(X, labels)]), output_signature=specs)
    layer = ak.TruncatedRNN(L.GRU(4, return_sequences=True), 2)
    inputs = keras.Input((None, 2))
    network = keras.Model(inputs, L.Dense(3, activation="softmax")(layer(inputs)))
    weights = network.get_weights()
    trained = []
    for given in ((data,), (X, labels)):
        network.set_weights(weights)
        network.compile("sgd", "sparse_categorical_crossentropy")
        network.fit(*given, steps_per_epoch=1, shuffle=False, batch_size=8, verbose=0)
        trained.append(network.get_weights())
    for ours, known in zip(*trained):
        np.testing.assert_allclose(ours, known, atol=1e-6)
    assert any(np.any(a != b) for a, b in zip(trained[0], weights))


@pytest.mark.parametrize("losses", [(), True])
def test_a_frozen_model_is_trained_by_nobody(losses):
    model = wrapped(ak.TruncatedRNN(L.LSTM(4), 3), losses=losses)
    model.trainable = False
    weights = model.get_weights()
    with pytest.warns(UserWarning, match="No weight moves"):
        assert np.isfinite(fit(model)["loss"]).all()
    if losses:
        with pytest.warns(UserWarning, match="No weight moves"):
            model.pretrain(X, verbose=0)
    moved = [np.any(a != b) for a, b in zip(weights, model.get_weights())]
    assert sum(moved) <= 1  # the clock


class Scaled(L.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(10 * sequences, initial_state, mask, training)


class Doubled(ak.TruncatedRNN):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(2 * sequences, initial_state, mask, training)


class Named(L.LSTM):
    """A subclass that runs as Keras does."""

    def __init__(self, units=4, **options):
        super().__init__(units, **options)


def test_a_recurrent_layer_with_a_call_of_its_own_is_refused():
    """Its cell would be run without what the call adds."""
    message = "`rnn` must run its cell as LSTM does: put what its own call"
    with pytest.raises(ValueError, match=message):
        ak.TruncatedRNN(Scaled(4), 3)
    with pytest.raises(ValueError, match=message):
        wrapped(Scaled(4))
    with pytest.raises(ValueError, match="as TruncatedRNN does"):
        wrapped(Doubled(L.LSTM(4), 3))
    named = Named()
    np.testing.assert_allclose(ak.TruncatedRNN(named, 3)(X), named(X), atol=1e-6)


class Encoder(L.Layer):
    def __init__(self):
        super().__init__()
        self.table, self.rnn = L.Embedding(5, 3), L.Bidirectional(L.GRU(4))

    def call(self, tokens):
        return self.rnn(self.table(tokens))


@pytest.mark.parametrize("subclass", [False, True])
def test_a_recurrent_layer_inside_a_layer_is_found(subclass):
    """So is the table of its characters; also where the outer model is a subclass."""

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.top = Encoder(), L.Dense(3, activation="softmax")

        def call(self, tokens):
            return self.top(self.encoder(tokens))

    tokens = np.arange(72).reshape(8, 9) % 5
    inputs = keras.Input((9,), dtype="int32")
    layers = [inputs, Encoder(), L.Dense(3, activation="softmax")]
    network = Network() if subclass else keras.Sequential(layers)
    model = ak.AuxiliaryModel(network, [reconstruction(L.GRUCell(4))])
    history = fit(model, tokens, Y)
    encoder = network.layers[0]
    assert model.layer is encoder.rnn.forward_layer
    assert np.isfinite(history["auxiliary_loss"]).all()
    before = encoder.table.get_weights()[0]
    model.pretrain(tokens, verbose=0)
    assert np.any(encoder.table.get_weights()[0] != before)


@keras.saving.register_keras_serializable("tests")
class OwnCompile(ak.AuxiliaryModel):
    def compile(self, optimizer, loss, extra):
        super().compile(optimizer, loss)
        self.extra = extra


def test_a_subclass_with_other_arguments_of_compile(tmp_path):
    """It pretrains, and is loaded as Keras loads such models: not compiled."""
    inputs = keras.Input((9, 2))
    network = keras.Model(inputs, L.Dense(3, activation="softmax")(L.LSTM(4)(inputs)))
    model = OwnCompile(network, [reconstruction()])
    model.compile("sgd", "sparse_categorical_crossentropy", extra=3)
    model.pretrain(X, verbose=0)
    assert model.extra == 3
    fit(model)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="method is custom"):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert getattr(loaded, "optimizer", None) is None
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    with pytest.raises(ValueError, match="`compile` must be called before `pretrain`"):
        loaded.pretrain(X, verbose=0)


@pytest.mark.parametrize("kind", ["numbers", "characters"])
def test_a_last_axis_of_one_comes_and_goes_as_in_keras(kind):
    """Also beside an Embedding that is not of the tokens."""
    side = keras.Input((), dtype="int32", name="side")
    if kind == "numbers":
        tokens, x = keras.Input((9, 1), name="tokens"), X[..., :1]
        h = L.LSTM(4)(tokens)
    else:
        tokens, x = keras.Input((9,), dtype="int32", name="tokens"), np.arange(72).reshape(8, 9) % 5
        h = L.LSTM(4)(L.Embedding(5, 3, name="table")(tokens))
    h = L.Concatenate()([h, L.Embedding(3, 2, name="other")(side)])
    network = keras.Model({"tokens": tokens, "side": side}, L.Dense(3, activation="softmax")(h))
    other = x[..., 0] if kind == "numbers" else x[..., None].astype("float32")
    losses = []
    for given in (x, other):
        set_seed(2)
        model = ak.AuxiliaryModel(
            network, [reconstruction()], tokens="tokens",
            embedding="table" if kind == "characters" else None,
        )  # fmt: skip
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        losses.append(model.evaluate({"tokens": given, "side": Y}, Y, verbose=0))
    np.testing.assert_allclose(*losses, rtol=1e-6)
