"""The model inside plain Keras code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras import config as configuration
from aux_keras.models import factory
from tests.conftest import rmsprop, set_seed

TIME, CLASSES = 12, 3
L = keras.layers


def model(
    tasks="r", supervised=4, compiled=True, cell=L.LSTM, seed=0, segment=5, eagerly=False, **options
):
    """A small classifier; `eagerly` saves seconds where nothing is about tracing."""
    cells = {L.LSTM: L.LSTMCell, L.GRU: L.GRUCell}[cell]
    common = dict(num_anchors=2, segment_length=segment, truncation=3, hidden_units=8,
                  drop_rate=0.5)  # fmt: skip
    auxiliary = []
    if "r" in tasks:
        auxiliary.append(ak.Reconstruction([cells(6), cells(6)], **common))
    if "p" in tasks:
        auxiliary.append(ak.Prediction([cells(6)], **common))
    built = ak.AuxiliaryClassifier(
        CLASSES, cell(6), supervised, classifier_units=8, drop_rate=0.5,
        embedding=ak.TokenEmbedding(4), auxiliary=auxiliary, sampling_decay_steps=10, seed=seed,
        **options,
    )  # fmt: skip
    if compiled:
        metrics, loss = ["accuracy"], "sparse_categorical_crossentropy"
        built.compile(rmsprop(), loss, metrics=metrics, run_eagerly=eagerly)
    return built


def arrays(n=10, time=TIME, features=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, time, features)).astype("float32")
    return x, rng.integers(0, CLASSES, n)


def values(built):
    return [w.numpy() for w in built.weights]


@pytest.mark.parametrize(("method", "count"), [("lstm", 167_434), ("r", 463_883)])
def test_weight_counts_of_the_paper(method, count):
    """Section 4.1 on MNIST. Embedding 1*128 + 128; LSTM 4*128*(128 + 128 + 1); classifier
    128*256 + 256 + 256*10 + 10; decoder 2 LSTMs and 128*256 + 256 + 256*1 + 1."""
    embedding, lstm = 1 * 128 + 128, 4 * 128 * (128 + 128 + 1)
    classifier = 128 * 256 + 256 + 256 * 10 + 10
    decoder = 2 * lstm + 128 * 256 + 256 + 256 * 1 + 1
    config = configuration.ExperimentConfig(method=method)
    built = factory.build(config, time=784, features=1, classes=10)
    assert sum(int(np.prod(w.shape)) for w in built.trainable_weights) == count
    assert count == embedding + lstm + classifier + (decoder if method == "r" else 0)


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU])
def test_one_step_moves_every_trainable_weight(cell):
    built = model("rp", cell=cell, eagerly=True)
    x, y = arrays()
    built.build(x.shape)
    before = [w.numpy() for w in built.trainable_weights]
    built.fit(x, y, batch_size=10, verbose=0)
    for weight, old in zip(built.trainable_weights, before):
        assert np.any(weight.numpy() != old), weight.path


def test_fit_on_arrays_logs_consistent_losses():
    built = model("rp", auxiliary_weight=0.5)
    x, y = arrays()
    history = built.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
    names = ["loss", "supervised_loss", "auxiliary_loss", "reconstruction_loss",
             "prediction_loss", "accuracy"]  # fmt: skip
    assert set(history) == {*names, *(f"val_{name}" for name in names)}
    for prefix in ("", "val_"):
        loss, supervised, auxiliary, r, p, _ = (history[prefix + name] for name in names)
        np.testing.assert_allclose(auxiliary, np.add(r, p), rtol=1e-5)
        np.testing.assert_allclose(loss, np.add(supervised, np.multiply(0.5, auxiliary)), rtol=1e-5)
    assert int(built.training_step) == 6


def test_plain_lstm_logs_no_auxiliary_loss():
    built = model("")
    history = built.fit(*arrays(), verbose=0).history
    assert set(history) == {"loss", "supervised_loss", "accuracy"}


def test_arrays_and_datasets_train_alike():
    x, y = arrays(20)
    results = []
    for data in ((x, y), (tf.data.Dataset.from_tensor_slices((x, y)).batch(10),)):
        set_seed(1)
        built = model("r", eagerly=True)
        built.fit(*data, batch_size=None if len(data) == 1 else 10, shuffle=False, verbose=0)
        results.append(values(built))
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_ragged_last_batch_is_weighted_by_its_size():
    """The epoch's loss is the mean over examples, not over batches."""
    built = model("")
    x, y = arrays(7)
    whole = built.evaluate(x, y, batch_size=7, verbose=0, return_dict=True)
    parts = built.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5)


def test_evaluation_repeats_its_draws_and_predict_gives_probabilities():
    built = model("rp")
    x, y = arrays()
    first = built.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(first, built.evaluate(x, y, verbose=0))
    probabilities = built.predict(x, verbose=0)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    assert probabilities.shape == (10, CLASSES)
    assert built.predict(x[:1], verbose=0).shape == (1, CLASSES)


def test_sample_weight_and_class_weight_weigh_the_supervised_loss_only():
    x, y = arrays()
    built = model("r", eagerly=True)
    unlabelled = built.evaluate(x, y, sample_weight=np.zeros(10), verbose=0, return_dict=True)
    plain = built.evaluate(x, y, verbose=0, return_dict=True)
    assert unlabelled["supervised_loss"] == 0
    assert unlabelled["auxiliary_loss"] == plain["auxiliary_loss"] > 0
    doubled = built.evaluate(x, y, sample_weight=np.full(10, 2.0), verbose=0, return_dict=True)
    np.testing.assert_allclose(doubled["supervised_loss"], 2 * plain["supervised_loss"], rtol=1e-5)
    weights = {0: 0.0, 1: 1.0, 2: 3.0}
    trained = {}
    for name, options in {
        "class": dict(class_weight=weights),
        "sample": dict(sample_weight=np.array([weights[label] for label in y])),
    }.items():
        set_seed(1)
        built = model("r", eagerly=True)
        built.fit(x, y, shuffle=False, verbose=0, **options)
        trained[name] = values(built)
    for one, other in zip(*trained.values()):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_lengths_hide_what_lies_behind_them():
    built = model("rp", eagerly=True)
    x, y = arrays()
    lengths = np.array([1, 2, 3, 5, 6, 7, 12, 12, 9, 4])
    noise = np.where(np.arange(TIME)[:, None] < lengths[:, None, None], x, 99).astype("f")
    inputs = [{"tokens": tokens, "lengths": lengths} for tokens in (x, noise)]
    one, other = (built.evaluate(i, y, verbose=0) for i in inputs)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    one, other = (built.predict(i, verbose=0) for i in inputs)
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_pretraining_leaves_the_classifier_alone_and_needs_no_labels():
    built = model("rp", eagerly=True)
    x, y = arrays(20)
    built.build(x.shape)
    classifier = [*built.hidden.weights, *built.readout.weights]
    before = [w.numpy() for w in classifier]
    encoder = built.encoder.cell.kernel.numpy()
    optimizer = built.optimizer
    history = built.pretrain(x, epochs=2, batch_size=10, verbose=0, validation_data=(x,)).history
    names = {"loss", "auxiliary_loss", "reconstruction_loss", "prediction_loss"}
    assert set(history) == names | {f"val_{name}" for name in names}
    for weight, old in zip(classifier, before):
        np.testing.assert_array_equal(weight, old)
    assert np.any(built.encoder.cell.kernel.numpy() != encoder)
    assert built.optimizer is optimizer and int(optimizer.iterations) == 0
    built.fit(x, y, batch_size=10, verbose=0)
    assert int(built.training_step) == 6  # one clock over both phases
    assert int(optimizer.iterations) == 2


def test_pretraining_a_dataset_with_labels_ignores_them():
    x, y = arrays(20)
    results = []
    for data in (tf.data.Dataset.from_tensor_slices((x, y)), tf.data.Dataset.from_tensor_slices(x)):
        set_seed(1)
        built = model("r", eagerly=True)
        built.pretrain(data.batch(10), verbose=0, shuffle=False)
        results.append(values(built))
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_pretraining_needs_compile_and_an_auxiliary_loss():
    with pytest.raises(ValueError, match="`compile` must be called before `pretrain`"):
        model("r", compiled=False).pretrain(arrays()[0])
    with pytest.raises(ValueError, match="`pretrain` needs an auxiliary loss"):
        model("").pretrain(arrays()[0])
    with pytest.raises(ValueError, match="`y` must be left out"):
        model("r").pretrain(*arrays())


def test_a_loss_of_logits_is_refused():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="`loss` must not set `from_logits`"):
        model("r", compiled=False).compile("sgd", loss)


def test_same_seed_same_run_and_other_seed_other_run():
    def train(seed):
        set_seed(1)
        built = model("rp", seed=seed)
        built.fit(*arrays(20), batch_size=10, epochs=2, shuffle=False, verbose=0)
        return values(built)

    first, again, other = train(0), train(0), train(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other))


def test_saved_and_loaded_in_the_middle_goes_on_as_unbroken(tmp_path):
    """`.keras` holds weights, optimizer and clock: losses after loading are equal."""
    x, y = arrays(20)
    built = model("rp")
    built.fit(x, y, batch_size=10, shuffle=False, verbose=0)
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.training_step) == 2
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), built.predict(x, verbose=0))
    histories = [
        m.fit(x, y, batch_size=10, shuffle=False, verbose=0).history for m in (built, loaded)
    ]
    assert histories[0] == histories[1]
    assert set(loaded.get_config()) == set(built.get_config())


@pytest.mark.parametrize("options", [dict(jit_compile=True), dict(run_eagerly=True)], ids=str)
def test_compiled_and_eager_steps_equal_the_traced_one(options):
    results = []
    for extra in ({}, options):
        set_seed(1)
        built = model("rp", compiled=False)
        built.compile("sgd", "sparse_categorical_crossentropy", **extra)
        built.fit(*arrays(), batch_size=10, shuffle=False, verbose=0)
        results.append(values(built))
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_its_scale_of_the_loss():
    """Over several calls of `pretrain` with one optimizer, and in `fit` around them."""
    built = model("r", dtype="mixed_float16")
    given = built.optimizer
    for phase in (1, 2):
        built.pretrain(arrays()[0], optimizer=given, epochs=1, verbose=0)
        assert built.optimizer is given and int(given.step_counter) == phase
    built.fit(*arrays(), verbose=0)
    built.pretrain(arrays()[0], epochs=1, verbose=0)
    assert built.optimizer is given and int(given.step_counter) == 3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy):
    keras.config.set_dtype_policy(policy)
    try:
        built = model("rp")
        history = built.fit(*arrays(), epochs=2, verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.all(np.isfinite(history["loss"]))
    assert {w.dtype for w in built.trainable_weights} == {"float32"}
    assert built.compute_dtype == policy.removeprefix("mixed_")
    assert built.predict(arrays()[0], verbose=0).dtype == np.float32


def test_one_hot_labels_and_callbacks():
    built = model("r", compiled=False)
    built.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    x, y = arrays()
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=100)
    one_hot = np.eye(CLASSES, dtype="f")[y]
    history = built.fit(x, one_hot, epochs=5, validation_split=0.3, callbacks=[stop], verbose=0)
    assert len(history.history["loss"]) < 5


def test_the_supervised_loss_falls():
    """Classes are told by the first token only, ten steps before the end."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 12, 1)).astype("f") * 0.1
    y = rng.integers(0, CLASSES, 256)
    x[:, 0, 0] = y - 1
    built = model("r", supervised=None, compiled=False)
    built.compile(keras.optimizers.RMSprop(0.01, epsilon=1e-16), "sparse_categorical_crossentropy")
    before = built.evaluate(x, y, verbose=0, return_dict=True)
    built.fit(x, y, epochs=8, verbose=0)
    after = built.evaluate(x, y, verbose=0, return_dict=True)
    assert after["supervised_loss"] < 0.5 * before["supervised_loss"]


def test_the_auxiliary_losses_fall():
    """Sines of random phase: from a stretch of one its past and its future follow."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (256, 1, 1))
    x = np.sin(phase + 0.7 * np.arange(TIME)[:, None]).astype("float32")
    built = model("rp", compiled=False)
    built.compile(keras.optimizers.RMSprop(0.01), "sparse_categorical_crossentropy")
    y = np.zeros(256, int)
    before = built.evaluate(x, y, verbose=0, return_dict=True)
    built.pretrain(x, epochs=15, verbose=0)
    after = built.evaluate(x, y, verbose=0, return_dict=True)
    for name in ("reconstruction_loss", "prediction_loss"):
        assert after[name] < 0.6 * before[name], name


@pytest.fixture(scope="module")
def never_fitted():
    """One model, whose steps are traced once: what it refuses changes no weight."""
    return model("r")


@pytest.mark.parametrize("as_dataset", [False, True])
@pytest.mark.parametrize(
    ("call", "spoil", "message"),
    [
        (call, *bad)
        for call in ("fit", "evaluate", "predict", "pretrain")
        for bad in [
            (lambda x, n, y: x.__setitem__((0, 0, 0), np.nan), "`tokens` must be finite"),
            (lambda x, n, y: x.__setitem__((0, 0, 0), np.inf), "`tokens` must be finite"),
            (lambda x, n, y: n.__setitem__(3, 0), "`lengths` must be integers from 1"),
            (lambda x, n, y: n.__setitem__(3, TIME + 1), "`lengths` must be integers from 1"),
            (lambda x, n, y: n.__iadd__(-0.5), "`lengths` must be integers from 1"),
            (lambda x, n, y: y.__setitem__(2, CLASSES), "`y` holds a label outside"),
            (lambda x, n, y: y.__setitem__(2, -1), "`y` holds a label outside"),
        ]
        if call in ("fit", "evaluate") or "`y`" not in bad[1]
    ],
)
def test_bad_data_is_named(spoil, message, call, as_dataset, never_fitted):
    x, y = arrays()
    lengths = np.full(10, float(TIME))
    spoil(x, lengths, y)
    inputs, built = {"tokens": x, "lengths": lengths}, never_fitted
    data = (inputs, y) if call in ("fit", "evaluate") else (inputs,)
    if as_dataset:
        data = (tf.data.Dataset.from_tensor_slices(data if len(data) > 1 else data[0]).batch(10),)
    options = {"shuffle": False} if call in ("fit", "pretrain") else {}
    before = [w.numpy() for w in built.trainable_weights]
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        getattr(built, call)(*data, verbose=0, **options)
    for old, new in zip(before, built.trainable_weights):
        np.testing.assert_array_equal(new, old, err_msg=new.path)


@pytest.mark.parametrize("as_dataset", [True, False])
def test_what_is_finite_in_float64_alone_is_refused(as_dataset):
    x = arrays()[0].astype("float64")
    x[0, 0, 0] = 1e300
    data = tf.data.Dataset.from_tensor_slices(x).batch(5) if as_dataset else x
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="finite in float32"):
        model("r").predict(data, verbose=0)


def dataset(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda x, y: (dataset(x, y),), "batch a dataset"),
        (lambda x, y: (dataset({"tokens": x, "lengths": np.full(10, 3)}, y),), "must be batched"),
        (lambda x, y: (dataset(x[..., :1], y).batch(5),), "must have the 2 features"),
        (lambda x, y: ({"tokens": x, "lengths": np.full((10, 1), 3)}, y), "`lengths` must be"),
        (lambda x, y: ([x, np.full(10, 3)], y), "or a dictionary of 'tokens' and 'lengths'"),
        (lambda x, y: (tf.RaggedTensor.from_tensor(x), y), "right-padded"),
    ],
)
def test_unfit_inputs_are_named(data, message):
    built = model("r")
    built.build((None, TIME, 2))
    with pytest.raises(ValueError, match=message):
        built.fit(*data(*arrays()), shuffle=False, verbose=0)


def test_segment_longer_than_the_sequence_is_named():
    with pytest.raises(ValueError, match="`segment_length` must be smaller than"):
        model("r", segment=TIME).fit(*arrays(), verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(supervised_truncation=-1), "`supervised_truncation` must be None"),
        (dict(supervised_truncation=2.5), "`supervised_truncation` must be None"),
        (dict(sampling_decay_steps=0), "`sampling_decay_steps` must be an integer of at least 1"),
        (dict(auxiliary_weight=-1.0), "`auxiliary_weight` must be a finite number >= 0"),
        (dict(embedding=4), "`embedding` must be an aux_keras.TokenEmbedding"),
        (dict(preprocessing="x"), "`preprocessing` must be a dictionary"),
        (dict(classes=2.5), "`classes` must be an integer of at least 1"),
        (dict(seed=None), "`seed` must be an integer of at least 0"),
        (dict(rnn=L.LSTM), "`rnn` must be a Keras RNN layer"),
        (dict(rnn=L.LSTMCell), "`rnn` must be a Keras RNN layer"),
        (dict(drop_rate=1.5), "`drop_rate` must be in"),
        (dict(classifier_units=-1), "`classifier_units` must be a positive integer, or None"),
    ],
)
def test_bad_arguments_are_named(options, message):
    given = dict(classes=3, rnn=L.LSTM(4), supervised_truncation=3, classifier_units=8,
                 drop_rate=0.5)  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ak.AuxiliaryClassifier(**{**given, **options})


@pytest.mark.parametrize("loss", [ak.Reconstruction, ak.Prediction, ak.LanguageModel])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(drop_rate=2.0), "`drop_rate` must be in"),
        (dict(hidden_units=-1), "`hidden_units` must be a positive integer, or None"),
        (dict(drop_per="row"), "`drop_per` must be one of"),
    ],
)
def test_bad_sizes_of_a_readout_are_named_at_once(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_on_batch"])
def test_no_inputs_are_named(method):
    with pytest.raises(ValueError, match="`x` must be inputs"):
        getattr(model("r"), method)(None)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((4, TIME), "f"), "`tokens` must be .batch, time, features."),
        ({"x": np.zeros((4, TIME, 1), "f")}, "`inputs` must have the keys 'tokens' and 'lengths'"),
    ],
)
def test_inputs_of_the_wrong_shape_are_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        model("r").fit(inputs, np.zeros(4, int), verbose=0)


def test_another_width_than_the_model_was_built_for_is_named():
    built = model("r")
    built.build((None, TIME, 2))
    for call in (built.predict, lambda x: built.fit(x, np.zeros(4, int), verbose=0)):
        with pytest.raises(ValueError, match="`tokens` must have the 2 features"):
            call(np.zeros((4, TIME, 3), "f"))


def test_weight_zero_leaves_the_auxiliary_losses_out():
    built = model("r", auxiliary_weight=0.0)
    x, y = arrays()
    built.build(x.shape)
    decoder = [w.numpy() for w in built.auxiliary[0].trainable_weights]
    history = built.fit(x, y, verbose=0).history
    assert set(history) == {"loss", "supervised_loss", "accuracy"}
    for weight, old in zip(built.auxiliary[0].trainable_weights, decoder):
        np.testing.assert_array_equal(weight, old)
    assert "auxiliary_loss" in built.pretrain(x, verbose=0).history


def test_twice_the_same_task_needs_two_names():
    tasks = [ak.Prediction([L.LSTMCell(4)], 1, 3, 2, 8, 0.5) for _ in range(2)]
    with pytest.raises(ValueError, match="`auxiliary` needs distinct names"):
        ak.AuxiliaryClassifier(3, L.LSTM(4), 3, 8, 0.5, auxiliary=tasks)


def test_decoder_of_another_kind_of_cell_is_refused():
    task = ak.Reconstruction([L.GRUCell(4)], 1, 3, 2, 8, 0.5)
    built = ak.AuxiliaryClassifier(3, L.LSTM(4), 3, 8, 0.5, auxiliary=[task])
    with pytest.raises(ValueError, match="as many states as the main RNN"):
        built.build((None, 9, 1))


def test_from_config_leaves_its_dictionary_as_it_was():
    """Of a layer around a cell too, whose own `from_config` takes the cell out."""
    rnn, embedding = L.RNN(L.LSTMCell(6)), ak.TokenEmbedding(4)
    loss = ak.Reconstruction([L.LSTMCell(6)], 1, 3, 2, hidden_units=4, drop_rate=0.0)
    network = keras.Sequential([keras.Input((TIME, 2)), L.RNN(L.LSTMCell(6)), L.Dense(2)])
    again = ak.Reconstruction([L.LSTMCell(6)], 1, 3, 2, hidden_units=4, drop_rate=0.0)
    for built in (
        ak.AuxiliaryClassifier(CLASSES, rnn, 3, 8, 0.5, embedding, [loss]),
        ak.AuxiliaryModel(network, [again]),
    ):
        config = built.get_config()
        before = str(config)
        for _ in range(2):
            type(built).from_config(config)
            assert str(config) == before
