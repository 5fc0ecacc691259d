"""Every loss and every gradient equals the slow reference's, to 1e-5."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras import randomness
from tests import reference

TIME, SEGMENT, FEATURES, CLASSES, UNITS, VOCABULARY = 11, 4, 2, 3, 5, 6
LENGTHS = [1, 2, SEGMENT, SEGMENT + 1, 8, TIME]
LABELS = [0, 1, 2, 0, 1, 2]
TRUNCATIONS = [None, 0, 1, 3, TIME + 2]
CELLS = {
    "lstm": keras.layers.LSTMCell,
    "gru": keras.layers.GRUCell,
    "irnn": lambda units: ak.IRNNCell(units, stddev=0.001),
    "urnn": ak.URNNCell,
}


def build(cell="lstm", supervised=3, truncation=3, n=1, r=None, p=None, tasks="rp",
          scale=0.5, **options):  # fmt: skip
    def cells(count, units=UNITS):
        return [CELLS[cell](units) for _ in range(count)]

    common = dict(num_anchors=n, segment_length=SEGMENT, truncation=truncation,
                  hidden_units=6, drop_rate=0.5)  # fmt: skip
    r, p = dict(r or {}), dict(p or {})
    whole = dict(truncation=truncation, hidden_units=6, drop_rate=0.5)
    auxiliary = {
        "l": lambda: ak.LanguageModel(**whole),
        "s": lambda: ak.SequenceAutoencoder(**whole),
        "r": lambda: ak.Reconstruction(
            cells(r.pop("layers", 2), r.pop("units", UNITS)), **{**common, **r}
        ),
        "p": lambda: ak.Prediction(cells(p.pop("layers", 1)), **{**common, **p}),
    }
    options = {"embedding": ak.TokenEmbedding(4), **options}
    model = ak.AuxiliaryClassifier(
        CLASSES, CELLS[cell](UNITS), supervised, classifier_units=6, drop_rate=0.5,
        auxiliary=[auxiliary[t]() for t in tasks], sampling_decay_steps=100, seed=3, **options,
    )  # fmt: skip
    shape = (None, TIME) if model.vocabulary_size else (None, TIME, FEATURES)
    model.build({"tokens": shape, "lengths": (None,)})
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.training_step.assign(50)  # half of the inputs of a decoder are its own outputs
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # biases too, so that none hides behind a zero
        weight.assign(rng.normal(size=weight.shape) * scale)
    return model


def batch(model):
    rng = np.random.default_rng(1)
    tokens = tf.constant(rng.normal(size=(len(LENGTHS), TIME, FEATURES)), tf.float32)
    if model.vocabulary_size:
        tokens = tf.constant(rng.integers(0, VOCABULARY, (len(LENGTHS), TIME)), tf.int32)
    return {"tokens": tokens, "lengths": tf.constant(LENGTHS)}, tf.constant(LABELS)


def fast(model, x, y, traced):
    """Losses and gradients of the package, traced as `fit` traces them or step by step."""

    def run():
        key = model.key(0, model.training_step)
        with tf.GradientTape() as tape:
            y_pred, auxiliary, _ = model.forward(x, key, training=True)
            loss, named = model.losses_of(x, y, y_pred, None, auxiliary)
        return named, tape.gradient(loss, model.trainable_weights)

    return tf.function(run, autograph=False)() if traced else run()


def slow(model, x, y):
    """The same by the reference, told what the package draws from the same key."""
    key = model.key(0, model.training_step)
    keys = [randomness.fold_in(key, i) for i in range(len(model.auxiliary) + 1)]
    mask = model.readout.draw_mask(len(LENGTHS), keys[0])
    epsilon = 1 - float(model.training_step) / model.sampling_decay_steps
    growth = 1.0
    if model.placement_growth_steps is not None:
        growth = float(model.training_step) / model.placement_growth_steps
    draws = [
        task.draw(x["lengths"], k, epsilon, True, growth)
        for task, k in zip(model.auxiliary, keys[1:])
    ]
    with tf.GradientTape() as tape:
        named = {
            f"{task.name}_loss": reference.auxiliary_loss(model, task, x["tokens"], d, x["lengths"])
            for task, d in zip(model.auxiliary, draws)
        }
        named["auxiliary_loss"] = sum(named.values())
        named["supervised_loss"] = reference.supervised_loss(
            model, x["tokens"], x["lengths"], y, mask
        )
        named["loss"] = named["supervised_loss"] + named["auxiliary_loss"]
    return named, tape.gradient(named["loss"], model.trainable_weights)


def assert_equal(model, traced=False):
    x, y = batch(model)
    losses, gradients = fast(model, x, y, traced)
    wanted, wanted_gradients = slow(model, x, y)
    for name, value in wanted.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert any(g is not None for g in wanted_gradients)
    for weight, got, want in zip(model.trainable_weights, gradients, wanted_gradients):
        got = np.zeros(weight.shape) if got is None else tf.convert_to_tensor(got)
        want = np.zeros(weight.shape) if want is None else want
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=weight.path)


PAIRS = [(k, k) for k in TRUNCATIONS] + list(zip(TRUNCATIONS, TRUNCATIONS[1:] + TRUNCATIONS[:1]))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("supervised", "truncation"), PAIRS)
def test_both_losses_at_every_truncation(cell, n, supervised, truncation):
    traced = n == 3 and supervised == truncation
    assert_equal(build(cell, supervised, truncation, n), traced)


@pytest.mark.parametrize("cell", ["irnn", "urnn"])
@pytest.mark.parametrize(("supervised", "truncation"), PAIRS[5:])
def test_cells_of_the_baselines_at_every_truncation(cell, supervised, truncation):
    """The method is orthogonal to the cell, a trained initial state included."""
    model = build(cell, supervised, truncation, scale=0.2)  # unbounded: states stay small
    assert_equal(model, traced=cell == "urnn")


@pytest.mark.parametrize("tasks", ["l", "s"])
def test_whole_sequences_with_a_trained_initial_state(tasks):
    assert_equal(build("urnn", 3, 3, tasks=tasks, scale=0.25))


@pytest.mark.parametrize(
    "options",
    [
        dict(tasks="r"),
        dict(tasks="p"),
        dict(tasks=""),
        dict(r=dict(placement="past")),
        dict(r=dict(placement="past_or_spill")),
        dict(r=dict(placement="curriculum"), placement_growth_steps=100),  # half grown
        dict(r=dict(placement="anywhere")),
        dict(r=dict(reverse=False)),
        dict(r=dict(layers=1)),
        dict(r=dict(units=7)),
        dict(r=dict(segment_length=1), p=dict(segment_length=1)),
        dict(r=dict(decoder_truncation=3)),
        dict(r=dict(decoder_truncation=2)),
        dict(r=dict(decoder_truncation=0)),
        dict(r=dict(drop_per="batch")),
        dict(r=dict(feedback_gradient=True)),
        dict(r=dict(feedback_gradient=True), truncation=None),
        dict(p=dict(structure="decoder", layers=2)),
        dict(p=dict(decoder_truncation=2)),
        dict(embedding=None),
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_option(cell, options):
    assert_equal(build(cell, **options), traced=cell == "gru")


def characters(**options):
    return build(embedding=ak.TokenEmbedding(4, vocabulary_size=VOCABULARY), **options)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_characters(cell, n, truncation):
    model = characters(cell=cell, supervised=truncation, truncation=truncation, n=n)
    assert_equal(model, traced=n == 3)


@pytest.mark.parametrize(
    "options",
    [
        dict(r=dict(feedback="argmax")),
        dict(r=dict(hidden_units=None), p=dict(hidden_units=None)),
        dict(r=dict(drop_per="batch", placement="past", reverse=False)),
        dict(p=dict(structure="decoder", layers=2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_options_of_characters(cell, options):
    assert_equal(characters(cell=cell, **options), traced=True)


@pytest.mark.parametrize("make", [build, characters])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_language_model_and_sequence_autoencoder(make, cell, truncation):
    assert_equal(make(cell=cell, truncation=truncation, tasks="ls"), traced=make is characters)


@pytest.mark.parametrize("make", [build, characters])
def test_whole_step_under_xla(make):
    model = make(n=3, tasks="rpls")
    x, y = batch(model)
    key = model.key(0, model.training_step)

    @tf.function(jit_compile=True, autograph=False)
    def run(x, y):
        with tf.GradientTape() as tape:
            y_pred, auxiliary, _ = model.forward(x, key, training=True)
            loss, _ = model.losses_of(x, y, y_pred, None, auxiliary)
        return loss, tape.gradient(loss, model.trainable_weights)

    loss, gradients = run(x, y)
    wanted, wanted_gradients = slow(model, x, y)
    np.testing.assert_allclose(loss, wanted["loss"], rtol=1e-5)
    for got, want in zip(gradients, wanted_gradients):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
