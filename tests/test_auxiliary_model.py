"""Auxiliary losses on a user's own model, and the pretrained RNN taken out of ours."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.losses.scheduled_sampling import teacher_probability
from aux_keras.models.memory_gap import Reading
from aux_keras.scan.recurrence import make_recurrence
from tests.conftest import rmsprop

L = keras.layers
TIME, CLASSES = 12, 3


def tasks(names="rp", cells=L.LSTMCell, truncation=3, units=6):
    common = dict(num_anchors=2, segment_length=5, truncation=truncation, hidden_units=8,
                  drop_rate=0.5)  # fmt: skip
    made = {
        "r": lambda: ak.Reconstruction([cells(units), cells(units)], **common),
        "p": lambda: ak.Prediction([cells(units)], **common),
    }
    return [made[name]() for name in names]


def stacked():
    inputs = keras.Input((TIME, 2), name="series")
    x = L.Conv1D(4, 3, padding="causal")(inputs)
    x = L.Dropout(0.3)(L.LSTM(6, return_sequences=True, name="lower")(x))
    x = L.LSTM(6, name="upper", dropout=0.2)(x)
    return keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(L.Dropout(0.3)(x)))


def bidirectional():
    inputs = keras.Input((TIME, 2))
    x = L.Dropout(0.3)(L.Bidirectional(L.GRU(6))(inputs))
    return keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(x))


def of_characters():
    inputs = keras.Input((TIME,), dtype="int32")
    x = L.LSTM(6)(L.Dropout(0.3)(L.Embedding(9, 4, mask_zero=True)(inputs)))
    return keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(x))


def nested():
    inner = keras.Sequential([keras.Input((TIME, 2)), L.SimpleRNN(6), L.Dropout(0.3)])
    return keras.Sequential([keras.Input((TIME, 2)), inner, L.Dense(CLASSES, "softmax")])


MODELS = {
    "stacked, upper": (stacked, "upper", L.LSTMCell),
    "stacked, lower": (stacked, "lower", L.LSTMCell),
    "bidirectional": (bidirectional, None, L.GRUCell),
    "characters": (of_characters, None, L.LSTMCell),
    "nested": (nested, None, L.SimpleRNNCell),
}


def arrays(model, n=10):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, n)
    if len(model.input_shape) == 2:
        x = rng.integers(1, 9, (n, TIME))
        x[::2, 9:] = 0  # padding
        return x, y
    return rng.normal(size=(n, TIME, 2)).astype("float32"), y


def wrapped(name, eagerly=False, **options):
    make, rnn, cells = MODELS[name]
    model = make()
    built = ak.AuxiliaryModel(model, tasks(cells=cells), rnn=rnn, **options)
    built.compile(
        rmsprop(), "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eagerly
    )
    return model, built


def values(model):
    return [w.numpy() for w in model.weights]


@pytest.mark.parametrize("name", MODELS)
def test_a_wrapped_model_trains_and_stays_what_it_was(name, tmp_path):
    """Outputs unchanged, every weight moves, and the weights load into a model of its own."""
    model, built = wrapped(name, sampling_decay_steps=10)
    x, y = arrays(model)
    np.testing.assert_array_equal(built.predict(x, verbose=0), model.predict(x, verbose=0))
    before = [w.numpy() for w in built.trainable_weights]
    built.pretrain(x, epochs=1, verbose=0)
    history = built.fit(x, y, validation_data=(x, y), epochs=2, verbose=0).history
    assert {"loss", "supervised_loss", "auxiliary_loss", "reconstruction_loss", "prediction_loss",
            "accuracy", "val_accuracy", "val_auxiliary_loss"} <= set(history)  # fmt: skip
    assert np.all(np.isfinite([v for values in history.values() for v in values]))
    moved = [np.any(w.numpy() != b) for w, b in zip(built.trainable_weights, before)]
    assert all(moved), [w.path for w, m in zip(built.trainable_weights, moved) if not m]
    model.save_weights(tmp_path / "plain.weights.h5")
    plain = MODELS[name][0]()
    plain.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_array_equal(plain.predict(x, verbose=0), built.predict(x, verbose=0))


def test_it_computes_what_the_classifier_computes():
    """Embedding, LSTM and classifier as a user would write them: equal losses and gradients
    with `AuxiliaryClassifier`, whose losses the slow reference has checked."""
    ours = ak.AuxiliaryClassifier(
        CLASSES, L.LSTM(6), None, 8, 0.0, ak.TokenEmbedding(4, 9), auxiliary=tasks(),
        sampling_decay_steps=100,
    )  # fmt: skip
    ours.build({"tokens": (None, TIME), "lengths": (None,)})
    inputs = keras.Input((TIME,), dtype="int32")
    x = L.LSTM(6)(L.Embedding(9, 4, mask_zero=True)(inputs))
    x = L.Dense(8, "relu")(x)
    theirs = keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(x))
    built = ak.AuxiliaryModel(theirs, tasks(), sampling_decay_steps=100)
    theirs.set_weights(
        [*ours.embedding.get_weights(), *ours.encoder.rnn.get_weights(),
         *ours.hidden.get_weights(), *ours.readout.get_weights()]
    )  # fmt: skip
    for mine, other in zip(ours.auxiliary, built.auxiliary):
        other.set_weights(mine.get_weights())
    tokens, y = arrays(theirs)
    tokens = tf.constant(tokens, tf.int32)
    inside = {"tokens": tokens, "lengths": tf.math.count_nonzero(tokens, 1, dtype=tf.int32)}
    assert float(teacher_probability(ours.training_step, 100)) == 1.0
    found = []
    for model, given in ((ours, inside), (built, tokens)):
        model.compile("sgd", "sparse_categorical_crossentropy")
        with tf.GradientTape() as tape:
            y_pred, auxiliary, _ = model.forward(given, tf.constant([1, 2]), True)
            loss, named = model.losses_of(given, tf.constant(y), y_pred, None, auxiliary)
        rnn = model.encoder.rnn if model is ours else theirs.layers[2]
        table = model.embedding.kernel if model is ours else theirs.layers[1].embeddings
        gradients = tape.gradient(loss, [table.value, *(w.value for w in rnn.trainable_weights)])
        found.append((named, [tf.convert_to_tensor(g).numpy() for g in gradients]))
    (ours_named, ours_gradients), (named, gradients) = found
    assert set(named) == set(ours_named)
    for name, value in named.items():
        np.testing.assert_allclose(value, ours_named[name], rtol=1e-5, err_msg=name)
    for mine, other in zip(ours_gradients, gradients):
        assert np.abs(mine).max() > 1e-4
        np.testing.assert_allclose(other, mine, atol=1e-5)


def test_saved_and_loaded_it_goes_on(tmp_path):
    model, built = wrapped("stacked, upper", True, sampling_decay_steps=10, auxiliary_weight=0.5)
    x, y = arrays(model)
    built.fit(x, y, verbose=0)
    built.save(tmp_path / "wrapped.keras")
    loaded = keras.models.load_model(tmp_path / "wrapped.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), built.predict(x, verbose=0))
    assert loaded.get_config()["auxiliary_weight"] == 0.5
    assert int(loaded.training_step) == int(built.training_step) == 1
    loaded.fit(x, y, verbose=0)


def test_gradient_ends_at_the_truncation():
    """The auxiliary loss at one anchor reaches the features of its last 3 steps alone."""
    inputs = keras.Input((TIME, 2))
    model = keras.Model(inputs, L.Dense(CLASSES)(L.LSTM(6)(inputs)))
    task = ak.Reconstruction([L.LSTMCell(6)], num_anchors=1, segment_length=4, truncation=3,
                             hidden_units=4, drop_rate=0.0)  # fmt: skip
    built = ak.AuxiliaryModel(model, [task])
    built.compile("sgd", "mse")
    built.pretraining = True
    x = tf.constant(arrays(model, 1)[0])
    anchor = int(task.draw(tf.constant([TIME]), built_key(), None, True).segments.anchors[0, 0])
    features = tf.Variable(x)
    record = make_recurrence(model.layers[1].cell, None, "float32")
    with tf.GradientTape() as tape:
        reading = Reading(record, None, x, features.value(), tf.constant([TIME]))
        _, auxiliary = built.run_losses(reading, tf.constant([1, 2]), True)
        loss = tf.reduce_sum(auxiliary[0].segment_losses)
    reached = np.flatnonzero(np.abs(tape.gradient(loss, features)[0].numpy()).sum(axis=1))
    assert list(reached) == list(range(max(0, anchor - 2), anchor + 1))


def built_key():
    from aux_keras import randomness

    return randomness.fold_in(tf.constant([1, 2]), 1)


def test_dictionary_of_inputs():
    tokens, extra = keras.Input((TIME, 2), name="tokens"), keras.Input((3,), name="extra")
    x = L.Concatenate()([L.LSTM(6)(tokens), extra])
    outputs = L.Dense(CLASSES, activation="softmax")(x)
    model = keras.Model({"tokens": tokens, "extra": extra}, outputs)
    built = ak.AuxiliaryModel(model, tasks("r"), tokens="tokens")
    built.compile("rmsprop", "sparse_categorical_crossentropy", run_eagerly=True)
    x, y = {"tokens": np.ones((4, TIME, 2)), "extra": np.ones((4, 3))}, np.zeros(4)
    assert np.isfinite(built.fit(x, y, verbose=0).history["auxiliary_loss"][0])
    for wrong in ("series", None, "extra"):
        with pytest.raises(ValueError, match="`tokens` must|`model` must have a keras.layers.Emb"):
            built = ak.AuxiliaryModel(model, tasks("r"), tokens=wrong)
            built.compile("rmsprop", "sparse_categorical_crossentropy", run_eagerly=True)
            built.fit(x, y, verbose=0)


def test_list_of_inputs_and_of_outputs():
    tokens, extra = keras.Input((TIME, 2)), keras.Input((3,))
    h = L.LSTM(6)(tokens)
    model = keras.Model([extra, tokens], [L.Dense(2)(h), L.Concatenate()([h, extra])])
    built = ak.AuxiliaryModel(model, tasks("r"), tokens=1)
    built.compile("rmsprop", ["mse", "mae"])
    x = [np.ones((4, 3)), np.ones((4, TIME, 2))]
    history = built.fit(x, [np.ones((4, 2)), np.ones((4, 9))], verbose=0).history
    assert np.isfinite(history["auxiliary_loss"][0])


def test_export_right_after_fit(tmp_path):
    model = stacked()
    built = ak.AuxiliaryModel(model, tasks(), rnn="upper")
    built.compile("sgd", "sparse_categorical_crossentropy")
    x, y = arrays(model)
    built.fit(x, y, verbose=0)
    built.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(x), model.predict(x, verbose=0), atol=1e-6)


def test_several_embeddings():
    """A user's number beside a text: the decoders read through the text's table."""
    text, user = keras.Input((TIME,), dtype="int32"), keras.Input((), dtype="int32")
    h = L.LSTM(6)(L.Embedding(9, 4, name="characters")(text))
    joined = L.Concatenate()([h, L.Embedding(30, 5, name="users")(user)])
    model = keras.Model([text, user], L.Dense(CLASSES, activation="softmax")(joined))
    with pytest.raises(ValueError, match=r"`embedding` must name one .*\['characters', 'users'\]"):
        ak.AuxiliaryModel(model, tasks("r"), tokens=0).build([(None, TIME), (None,)])
    built = ak.AuxiliaryModel(model, tasks("r"), embedding="characters", tokens=0)
    built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    x = [np.random.default_rng(0).integers(1, 9, (4, TIME)), np.arange(4)]
    assert np.isfinite(built.train_on_batch(x, np.zeros(4), return_dict=True)["auxiliary_loss"])
    assert built.token_embedding().kernel is model.get_layer("characters").embeddings


def test_what_is_masked_is_left_out_wherever_it_is():
    """Padded before (as `keras.utils.pad_sequences` does) or behind: equal auxiliary losses."""
    model = of_characters()
    built = ak.AuxiliaryModel(model, tasks())
    built.compile("sgd", "sparse_categorical_crossentropy")
    texts = [[1, 2, 3, 4, 5, 6, 7, 8], [3, 1, 4, 1, 5, 2, 6], [5] * TIME]
    found = []
    for where in ("pre", "post"):
        x = keras.utils.pad_sequences(texts, TIME, padding=where)
        built.pretraining = True
        _, auxiliary, _ = built.forward(tf.constant(x), tf.constant([1, 2]), False)
        found.append(auxiliary)
    for (loss, lengths), (other, other_lengths) in zip(*found):
        np.testing.assert_array_equal(lengths, other_lengths)
        np.testing.assert_allclose(loss, other, rtol=1e-6)
        assert np.all(loss.numpy()[lengths.numpy() > 0] > 0)


def test_a_sequence_that_is_all_masked_counts_nothing():
    built = ak.AuxiliaryModel(of_characters(), tasks())
    built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    x = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0], [0] * TIME])
    _, auxiliary, _ = built.forward(tf.constant(x), tf.constant([1, 2]), False)
    for losses, lengths in auxiliary:
        assert lengths.numpy()[1].tolist() == [0, 0] and losses.numpy()[1].tolist() == [0, 0]
        assert np.all(losses.numpy()[0] > 0)
    assert np.isfinite(built.train_on_batch(x, np.array([0, 1]), return_dict=True)["loss"])


def test_pretraining_does_not_move_the_head():
    """Not even one that a regularizer or weight decay would move."""
    head = L.Dense(CLASSES, activation="softmax", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((TIME, 2)), L.LSTM(6), head])
    built = ak.AuxiliaryModel(model, tasks())
    adam = keras.optimizers.AdamW(0.01)
    built.compile(adam, "sparse_categorical_crossentropy", run_eagerly=True)
    before, lower = head.kernel.numpy(), model.layers[0].cell.kernel.numpy()
    built.pretrain(arrays(model)[0], epochs=1, verbose=0)
    np.testing.assert_array_equal(head.kernel, before)
    assert np.any(model.layers[0].cell.kernel.numpy() != lower)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_losses_may_have_another_precision_than_the_model(policy):
    inner = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}[policy]
    model = keras.Sequential(
        [keras.Input((TIME, 2)), L.LSTM(6, dtype=inner), L.Dense(CLASSES, dtype=inner)]
    )
    keras.config.set_dtype_policy(policy)
    try:
        built = ak.AuxiliaryModel(model, tasks())
        gru = ak.AuxiliaryClassifier(2, L.GRU(6, dtype=inner), 3, 8, 0.5, dtype=policy)
    finally:
        keras.config.set_dtype_policy("float32")
    built.compile("sgd", "mse", run_eagerly=True)
    x = arrays(model)[0]
    assert np.isfinite(built.train_on_batch(x, np.ones((10, CLASSES)), return_dict=True)["loss"])
    gru.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(gru.train_on_batch(x, np.ones(10), return_dict=True)["loss"])


def test_it_refuses():
    used = tasks("r", L.SimpleRNNCell)
    ak.AuxiliaryModel(nested(), used)
    with pytest.raises(ValueError, match="each made for this model alone"):
        ak.AuxiliaryModel(nested(), used)
    unbuilt = tasks("r")
    with pytest.raises(ValueError, match="`tokens` must name the input"):
        ak.AuxiliaryModel(keras.Sequential([keras.Input((5, 2, 1)), L.Reshape((5, 2)), L.LSTM(6)]),
                          unbuilt)  # fmt: skip
    ak.AuxiliaryClassifier(2, L.LSTM(6), 3, 8, 0.5, auxiliary=unbuilt)
    with pytest.raises(ValueError, match="each made for this model alone"):
        ak.AuxiliaryClassifier(2, L.LSTM(6), 3, 8, 0.5, auxiliary=unbuilt)
    with pytest.raises(ValueError, match="`auxiliary` must be a list of losses"):
        ak.AuxiliaryModel(nested(), tasks("r")[0])
    with pytest.raises(ValueError, match="`cells` must be a list of at least one RNN cell"):
        ak.Reconstruction([L.LSTM(3)], 1, 2, 3, 4, 0.0)
    short = keras.Sequential([keras.Input((5, 2)), L.LSTM(6), L.Dense(3)])
    built = ak.AuxiliaryModel(short, tasks("p"))
    built.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`segment_length` must be smaller than the number of"):
        built.fit(np.ones((2, 5, 2)), np.ones((2, 3)), verbose=0)
    with pytest.raises(ValueError, match=r"`rnn` must name one .* there are \['lower', 'upper'\]"):
        ak.AuxiliaryModel(stacked(), tasks())
    with pytest.raises(ValueError, match="rnn='middle'; there are"):
        ak.AuxiliaryModel(stacked(), tasks(), rnn="middle")
    with pytest.raises(ValueError, match="`model` must be a keras.Model"):
        ak.AuxiliaryModel(L.LSTM(3), tasks())
    with pytest.raises(ValueError, match="`auxiliary` must be a list of losses"):
        ak.AuxiliaryModel(nested(), [L.Dense(3)])
    with pytest.raises(ValueError, match="`rnn` must not set `stateful`"):
        inputs = keras.Input((TIME, 2), batch_size=2)
        ak.AuxiliaryModel(keras.Model(inputs, L.LSTM(3, stateful=True)(inputs)), tasks())
    pooled = keras.Sequential([keras.Input((TIME, 2)), L.MaxPooling1D(2), L.LSTM(6), L.Dense(3)])
    built = ak.AuxiliaryModel(pooled, tasks())
    built.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`rnn` must read a time step for every token"):
        built.fit(np.ones((2, TIME, 2)), np.ones((2, 3)), verbose=0)


@pytest.mark.parametrize("characters", [False, True], ids=["real", "characters"])
@pytest.mark.parametrize("rnn", [lambda: L.LSTM(6), lambda: L.GRU(6),
                                 lambda: L.RNN(ak.URNNCell(6, seed=2)),
                                 lambda: ak.IRNNCell(6, 0.1)])  # fmt: skip
def test_feature_extractor_is_the_pretrained_rnn(rnn, characters):
    """Stock layers, equal outputs, frozen or not; without labels is enough."""
    embedding = ak.TokenEmbedding(4, vocabulary_size=9 if characters else None)
    cells = {"LSTM": L.LSTMCell, "GRU": L.GRUCell}.get(type(rnn()).__name__, L.SimpleRNNCell)
    classifier = ak.AuxiliaryClassifier(CLASSES, rnn(), 3, 8, 0.5, embedding, tasks("r", cells))
    eagerly = dict(run_eagerly=True)  # nothing here is about tracing
    classifier.compile(rmsprop(), "sparse_categorical_crossentropy", **eagerly)
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (10, TIME)) if characters else rng.random((10, TIME, 2))
    classifier.pretrain(x, epochs=1, verbose=0)
    for trainable in (False, True):
        encoder = ak.feature_extractor(classifier, trainable=trainable)
        wanted = classifier.encoder(tf.cast(x, "int32" if characters else "float32"))
        np.testing.assert_allclose(encoder.predict(x, verbose=0), wanted, atol=1e-6)
        assert not any(type(layer).__module__.startswith("aux_keras") for layer in encoder.layers)
        model = keras.Sequential([encoder, L.Dense(CLASSES, activation="softmax")])
        model.compile("rmsprop", "sparse_categorical_crossentropy", **eagerly)
        before = values(encoder)
        model.fit(x, rng.integers(0, CLASSES, 10), verbose=0)
        moved = [np.any(a != b) for a, b in zip(values(encoder), before)]
        assert any(moved) == trainable
    every = ak.feature_extractor(classifier, return_sequences=True).predict(x, verbose=0)
    np.testing.assert_allclose(every[:, -1], wanted, atol=1e-6)


def test_feature_extractor_reads_padded_characters():
    classifier = ak.AuxiliaryClassifier(
        CLASSES, L.LSTM(6), 3, 8, 0.5, ak.TokenEmbedding(4, vocabulary_size=9)
    )
    classifier.build((None, None))
    tokens = np.array([[3, 4, 0, 0], [1, 2, 3, 4]])
    found = ak.feature_extractor(classifier).predict(tokens, verbose=0)
    np.testing.assert_allclose(found, classifier.encoder(tokens, mask=tokens > 0), atol=1e-6)


def test_feature_extractor_where_zero_is_a_character():
    classifier = ak.AuxiliaryClassifier(
        CLASSES, L.LSTM(6), 3, 8, 0.5, ak.TokenEmbedding(4, vocabulary_size=4)
    )
    classifier.build((None, TIME))
    x = np.random.default_rng(0).integers(0, 4, (5, TIME))
    encoders = [ak.feature_extractor(classifier, mask_zero=False, name=n) for n in ("a", "b")]
    wanted = classifier.encoder(tf.constant(x, "int32"))
    np.testing.assert_allclose(encoders[0].predict(x, verbose=0), wanted, atol=1e-6)
    inputs = keras.Input((TIME,), dtype="int32")
    both = keras.Model(inputs, L.Add()([encoder(inputs) for encoder in encoders]))
    np.testing.assert_allclose(both.predict(x, verbose=0), 2 * wanted, atol=1e-6)


def test_feature_extractor_refuses():
    with pytest.raises(ValueError, match="`classifier` must be a built"):
        ak.feature_extractor(ak.AuxiliaryClassifier(2, L.LSTM(3), 1, None, 0.0))
