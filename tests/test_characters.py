"""Characters through the model: padding, scheduled sampling, bad input, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.config import ExperimentConfig
from aux_keras.losses import scheduled_sampling
from aux_keras.models import factory
from tests.conftest import rmsprop, set_seed
from tests.test_config import read_by

VOCABULARY, SEGMENT = 9, 4
LENGTHS = [1, 2, SEGMENT, SEGMENT + 1, 9, 13]


def cells(count, units=5):
    return [keras.layers.LSTMCell(units) for _ in range(count)]


def build(tasks="rp", drop_rate=0.5, seed=1, eagerly=False):
    common = dict(truncation=3, hidden_units=6, drop_rate=drop_rate)
    segments = dict(num_anchors=2, segment_length=SEGMENT, **common)
    auxiliary = {
        "r": lambda: ak.Reconstruction(cells(2), **segments),
        "p": lambda: ak.Prediction(cells(1), **segments),
        "l": lambda: ak.LanguageModel(**common),
        "s": lambda: ak.SequenceAutoencoder(**common),
    }
    set_seed(seed)
    model = ak.AuxiliaryClassifier(
        3, keras.layers.LSTM(5), 3, classifier_units=6, drop_rate=drop_rate,
        embedding=ak.TokenEmbedding(4, vocabulary_size=VOCABULARY),
        auxiliary=[auxiliary[task]() for task in tasks], sampling_decay_steps=10, seed=4,
    )  # fmt: skip
    model.build({"tokens": (None, None), "lengths": (None,)})
    loss = "sparse_categorical_crossentropy"
    model.compile(rmsprop(), loss, metrics=["accuracy"], run_eagerly=eagerly)
    model.training_step.assign(5)
    return model


def documents(width=13, padding=0):
    rng = np.random.default_rng(0)
    tokens = np.full((len(LENGTHS), width), padding, np.int32)
    for row, length in zip(tokens, LENGTHS):
        row[:length] = rng.integers(1, VOCABULARY, length)
    return {"tokens": tokens, "lengths": np.array(LENGTHS)}, np.array([0, 1, 2, 0, 1, 2])


def rows(x, y, chosen, width):
    """Some documents, in a batch of another width."""
    tokens = np.zeros((len(chosen), width), np.int32)
    given = x["tokens"][chosen][:, :width]
    tokens[:, : given.shape[1]] = given
    return {"tokens": tokens, "lengths": x["lengths"][chosen]}, y[chosen]


def losses_and_gradients(model, x, y, draws):
    """Everything that training computes, with the draws given: one document's do not depend
    on the batch that it is in."""
    tokens, lengths = tf.constant(x["tokens"]), tf.constant(x["lengths"], tf.int32)
    with tf.GradientTape() as tape:
        encoder, embedding = model.encoder.recurrence(), model.encoder.embedding
        from aux_keras.scan.windows import states_at

        requests = [task.window(d) for task, d in zip(model.auxiliary, draws)]
        first = encoder.first(len(lengths))
        records = states_at(encoder, tokens, [*requests, (lengths[:, None], 3)])
        records = [record or first for record in records]
        auxiliary = [
            task(tokens, d, record, encoder=encoder, embedding=embedding)
            for task, d, record in zip(model.auxiliary, draws, records)
        ]
        probabilities = model.classify(records[-1][0][:, 0], training=False)
        supervised = keras.losses.sparse_categorical_crossentropy(y, probabilities)
        total = tf.reduce_sum(supervised) + sum(tf.reduce_sum(losses) for losses, _ in auxiliary)
    gradients = tape.gradient(total, model.trainable_weights)
    gradients = [tf.convert_to_tensor(g) if g is not None else tf.zeros(()) for g in gradients]
    return [supervised, probabilities, *[losses for losses, _ in auxiliary]], gradients


@pytest.mark.parametrize("tasks", ["rp", "ls"])
def test_padding_never_matters(tasks):
    """A document alone, in a batch with longer ones, and with more padding: all the same."""
    model, (x, y) = build(tasks, drop_rate=0.0), documents()
    lengths = tf.constant(LENGTHS, tf.int32)
    draws = [t.draw(lengths, tf.constant([7, i]), 0.5, True) for i, t in enumerate(model.auxiliary)]
    everything = range(len(LENGTHS))

    def run(chosen, width):
        chosen = list(chosen)
        part = tf.nest.map_structure(lambda d: tf.gather(d, chosen), draws)
        return losses_and_gradients(model, *rows(x, y, chosen, width), part)

    whole, gradients = run(everything, max(LENGTHS))
    padded, padded_gradients = run(everything, 40)
    for one, other in zip([*whole, *gradients], [*padded, *padded_gradients]):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    sums = [0.0] * len(gradients)
    for i in everything:
        alone, gradient = run([i], max(LENGTHS[i], 2))
        for one, other in zip(alone, whole):
            np.testing.assert_allclose(one[0], other[i], rtol=1e-5, atol=1e-5)
        sums = [total + g for total, g in zip(sums, gradient)]
    for one, other in zip(sums, gradients):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tasks", ["rp", "ls"])
def test_what_stands_in_the_padding_never_matters(tasks):
    model = build(tasks)
    results = []
    for padding in (0, 8):
        x, y = documents(padding=padding)
        x, y = tf.nest.map_structure(tf.constant, (x, y))
        with tf.GradientTape() as tape:
            y_pred, auxiliary, _ = model.forward(x, model.key(0, 1), training=True)
            loss, named = model.losses_of(x, y, y_pred, None, auxiliary)
        gradients = tape.gradient(loss, model.trainable_weights)
        results.append([y_pred, *named.values(), *map(tf.convert_to_tensor, gradients)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_predictions_do_not_depend_on_padding():
    model, (x, y) = build(), documents()
    predicted = model.predict(x, verbose=0)
    wider = model.predict(rows(x, y, list(range(len(y))), 30)[0], verbose=0)
    np.testing.assert_allclose(predicted, wider, rtol=1e-5, atol=1e-6)
    alone = model.predict(rows(x, y, [4], 9)[0], verbose=0)
    np.testing.assert_allclose(predicted[4:5], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tasks", ["", "r", "p", "l", "s", "rpls"])
def test_fit_evaluate_and_save(tasks, tmp_path):
    model, (x, y) = build(tasks, eagerly=tasks != "rpls"), documents()
    before = [w.numpy() for w in model.trainable_weights]
    if tasks:
        model.pretrain(x, batch_size=6, epochs=1, verbose=0)
    model.fit(x, y, batch_size=6, epochs=1, verbose=0)
    for weight, old in zip(model.trainable_weights, before):
        assert np.any(weight.numpy() != old), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    one, other = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (model, loaded))
    assert one == pytest.approx(other, rel=1e-6)


def test_characters_are_drawn_from_the_distribution():
    logits = np.log(np.array([0.1, 0.6, 0.0001, 0.2999], "f"))
    uniform = np.linspace(0, 1, 20001, endpoint=False).astype("f")
    drawn = scheduled_sampling.draw_character(tf.repeat(logits[None], len(uniform), 0), uniform)
    counts = np.bincount(drawn, minlength=4) / len(uniform)
    np.testing.assert_allclose(counts, np.exp(logits), atol=2e-4)
    assert np.all(np.diff(drawn) >= 0)
    last = scheduled_sampling.draw_character(
        logits[None], np.array([np.nextafter(1, 0, dtype="f")])
    )
    assert int(last[0]) == 3


def test_a_perfect_language_model_has_no_loss():
    """A readout that always predicts the same character, on documents of that character."""
    model = build("l")
    (task,) = model.auxiliary
    for weight in task.readout.weights:
        weight.assign(tf.zeros_like(weight))
    task.readout.output_layer.bias.assign([0, 50, 0, 0, 0, 0, 0, 0, 0])
    x = {"tokens": np.ones((2, 6), np.int32), "lengths": np.array([6, 3])}
    results = model.evaluate(x, np.array([0, 1]), verbose=0, return_dict=True)
    assert results["auxiliary_loss"] == pytest.approx(0, abs=1e-6)
    task.readout.output_layer.bias.assign(np.zeros(9))
    results = model.evaluate(x, np.array([0, 1]), verbose=0, return_dict=True)
    assert results["auxiliary_loss"] == pytest.approx(np.log(9), rel=1e-5)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: tf.data.Dataset.from_tensors((x, [0, 1]))])
@pytest.mark.parametrize("bad", [-1, VOCABULARY])
def test_a_character_out_of_range_is_named(make, bad):
    x = {"tokens": np.array([[1, 2], [3, bad]], np.int32), "lengths": np.array([2, 2])}
    model, data = build(), make(x)
    arguments = (data,) if data is not x else (data, np.array([0, 1]))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="`tokens` holds"):
        model.fit(*arguments, verbose=0, shuffle=False)


def test_tokens_that_are_no_characters_are_named():
    model = build()
    with pytest.raises(ValueError, match="`tokens` holds something else than integers"):
        model.predict({"tokens": np.ones((2, 3)), "lengths": np.array([3, 3])})
    with pytest.raises(ValueError, match=r"`tokens` must be \(batch, time\) integers"):
        model.predict({"tokens": np.ones((2, 3, 1)), "lengths": np.array([3, 3])})


def test_float_characters_of_a_dataset_are_named():
    x = {"tokens": np.ones((2, 3), "f"), "lengths": np.array([3, 3])}
    data = tf.data.Dataset.from_tensors((x, np.array([0, 1])))
    with pytest.raises(ValueError, match="`tokens` holds something else than integers"):
        build().fit(data, verbose=0, shuffle=False)


def test_sampling_characters_needs_draws():
    decoder = ak.SegmentDecoder(cells(1), hidden_units=None, drop_rate=0.0, truncation=None)
    decoder.build((None, None, VOCABULARY), [(None, 5), (None, 5)], (4,))
    embedding = ak.TokenEmbedding(4, vocabulary_size=VOCABULARY)
    embedding.build(None)
    segments, states = np.ones((2, 4), "int64"), [tf.zeros((2, 5))] * 2
    feed = tf.zeros((2, 3), tf.bool)
    with pytest.raises(ValueError, match="`uniform` must be given"):
        decoder(segments, states, feed=feed, embedding=embedding)
    decoder.feedback = "argmax"
    assert decoder(segments, states, feed=feed, embedding=embedding).shape == (2, 3, VOCABULARY)


@pytest.mark.parametrize("tasks", ["r", "p", "l", "s"])
def test_whole_numbers_are_real_tokens_too(tasks):
    """Pixels that nobody scaled: integers (batch, time, features), without a vocabulary."""
    method = {"l": "lm", "s": "sa"}.get(tasks, tasks)
    small = read_by(method, units=5, embedding_units=4, classifier_units=6, decoder_units=5,
                    segment_length=4, drop_rate=0.0)  # fmt: skip
    config = ExperimentConfig(method=method, **small)
    pixels = np.random.default_rng(0).integers(0, 3, (6, 9, 2))
    results = []
    for dtype in ("uint8", "float32"):
        set_seed(1)
        model = factory.build(config, 9, 2, classes=3)
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        data = tf.data.Dataset.from_tensors((pixels.astype(dtype), np.arange(6) % 3))
        results.append(model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(*results, rtol=1e-6)


@pytest.mark.parametrize("vocabulary_size", [0, -1, 2.5, True])
def test_a_bad_vocabulary_is_named(vocabulary_size):
    with pytest.raises(ValueError, match="`vocabulary_size` must be a positive integer"):
        ak.TokenEmbedding(4, vocabulary_size=vocabulary_size)


def test_a_bad_feedback_is_named():
    with pytest.raises(ValueError, match="`feedback` must be one of"):
        ak.Reconstruction(cells(1), 1, 4, 3, hidden_units=6, drop_rate=0.5, feedback="beam")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("method", ["rp", "lm", "sa"])
def test_mixed_precision_trains(method, policy):
    small = read_by(method, units=5, embedding_units=4, classifier_units=6, decoder_units=5,
                    segment_length=4, sampling_decay_steps=2, dtype_policy=policy)  # fmt: skip
    config = ExperimentConfig(method=method, **small)
    model = factory.build(config, None, None, classes=3, vocabulary_size=VOCABULARY)
    model.compile("rmsprop", "sparse_categorical_crossentropy", run_eagerly=method != "rp")
    history = model.fit(*documents(), batch_size=6, epochs=3, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
