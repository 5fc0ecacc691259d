"""Large vocabularies: words are looked up, drawn by blocks, and compared with a few others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.losses import sampled_softmax, scheduled_sampling
from aux_keras.losses.objective import token_loss
from aux_keras.scan import recurrence
from tests.conftest import rmsprop, set_seed

L = keras.layers
WORDS, TIME = 600, 12
COMMON = dict(truncation=3, hidden_units=6, drop_rate=0.0)
LOSSES = {
    "r": lambda cell, **k: ak.Reconstruction([cell(5)], 2, 4, **COMMON, **k),
    "p": lambda cell, **k: ak.Prediction([cell(5)], 2, 4, **COMMON, **k),
    "l": lambda cell, **k: ak.LanguageModel(**COMMON, **k),
    "s": lambda cell, **k: ak.SequenceAutoencoder(**COMMON, **k),
}


def build(names="rpls", rnn=L.LSTM, num_sampled=None):
    cell = {L.LSTM: L.LSTMCell, L.GRU: L.GRUCell}[rnn]
    set_seed(1)
    model = ak.AuxiliaryClassifier(
        3, rnn(5), 3, classifier_units=6, drop_rate=0.0,
        embedding=ak.TokenEmbedding(4, vocabulary_size=WORDS), sampling_decay_steps=10,
        auxiliary=[LOSSES[name](cell, num_sampled=num_sampled) for name in names],
    )  # fmt: skip
    model.build({"tokens": (None, TIME), "lengths": (None,)})
    model.compile(rmsprop(), "sparse_categorical_crossentropy")
    model.training_step.assign(5)
    return model


def batch():
    rng = np.random.default_rng(0)
    lengths = np.array([2, 5, 6, 9, 12, 12])
    return {"tokens": rng.integers(1, WORDS, (6, TIME)), "lengths": lengths}, np.arange(6) % 3


def test_words_are_looked_up_as_one_hot_features_would_be(monkeypatch):
    """Losses, and every weight after two steps, with the table and with it in the kernel."""
    found = []
    for one_hot in (WORDS, WORDS - 1):
        monkeypatch.setattr(recurrence, "ONE_HOT", one_hot)
        model = build()
        model.compile("sgd", "sparse_categorical_crossentropy")  # does not magnify rounding
        logs = [model.train_on_batch(*batch(), return_dict=True) for _ in range(2)]
        logs.append(model.test_on_batch(*batch(), return_dict=True))
        found.append((logs, [w.numpy() for w in model.weights]))
    (composed, expected), (looked_up, weights) = found
    for one, other in zip(composed, looked_up):
        assert other == pytest.approx(one, rel=1e-5)
    for mine, other in zip(weights, expected):
        np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 7, 256, 257, 1000])
def test_sums_by_blocks_are_cumulative_sums(classes):
    values = np.random.default_rng(0).random((3, classes)).astype("float32")
    summed = scheduled_sampling.cumulative_sum(tf.constant(values))
    np.testing.assert_allclose(summed, np.cumsum(values, 1), rtol=1e-5)


def test_words_are_drawn_by_their_probabilities():
    logits = np.random.default_rng(0).normal(size=1000).astype("float32") * 2
    uniform = ((np.arange(20_000) + 0.5) / 20_000).astype("float32")
    drawn = scheduled_sampling.draw_character(tf.repeat(logits[None], len(uniform), 0), uniform)
    expected = np.exp(logits) / np.exp(logits).sum()
    counts = np.bincount(drawn, minlength=1000) / len(uniform)
    np.testing.assert_allclose(counts, expected, atol=1.5 / len(uniform))


def test_candidates_follow_zipfs_law():
    uniform = ((np.arange(50_000) + 0.5) / 50_000).astype("float32")
    drawn = sampled_softmax.draw_candidates(tf.constant(uniform), 100)
    expected = np.exp(sampled_softmax.log_probability(np.arange(100), 100))
    np.testing.assert_allclose(expected.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.bincount(drawn, minlength=100) / 50_000, expected, atol=1e-4)


def test_the_sampled_loss_is_its_formula_and_estimates_the_whole_one():
    """The estimate of the sum of exponentials has the exact sum as its mean over many draws."""
    rng = np.random.default_rng(0)
    h, w = rng.normal(size=(1, 3, 4)).astype("f"), rng.normal(size=(4, 50)).astype("f")
    b, y = rng.normal(size=50).astype("f"), np.array([[0, 7, 49]])
    draws = sampled_softmax.draw_candidates(rng.random((4000, 20)).astype("f"), 50).numpy()
    exact = token_loss(y, tf.constant(h @ w + b)).numpy()[0]
    losses = sampled_softmax.sampled_token_loss(
        tf.repeat(y, 4000, 0), tf.repeat(h, 4000, 0), w, b, draws
    ).numpy()
    logits, q = (h[0] @ w + b).astype("float64"), np.log((np.arange(50) + 2) / (np.arange(50) + 1))
    q /= q.sum()
    for t, word in enumerate(y[0]):
        others = [[k for k in row if k != word] for row in draws[:5]]
        sums = [sum(np.exp(logits[t, row]) / (20 * q[row])) for row in others]
        slow = np.log(np.exp(logits[t, word]) + sums) - logits[t, word]
        np.testing.assert_allclose(losses[:5, t], slow, rtol=1e-4)
        partition = np.exp(losses[:, t])  # over exp of the true word's logit
        error = partition.std() / np.sqrt(len(draws))
        assert abs(partition.mean() - np.exp(exact[t])) < 4 * error
        assert error < 0.02 * np.exp(exact[t])


@pytest.mark.parametrize("rnn", [L.LSTM, L.GRU])
def test_models_train_on_samples_and_evaluate_exactly(rnn):
    """All four losses: in evaluation as without samples; in training of their size, and lower
    after some steps; every weight of the readout moves, also of words that no text holds."""
    x, y = batch()
    exact, model = build(rnn=rnn), build(rnn=rnn, num_sampled=200)
    evaluated = [m.test_on_batch(x, y, return_dict=True) for m in (exact, model)]
    assert evaluated[0] == evaluated[1]
    before = [task.readout.output_layer.kernel.numpy() for task in model.auxiliary]
    logs = model.fit(x, y, epochs=20, verbose=0).history
    for task, kernel in zip(model.auxiliary, before):
        losses = logs[f"{task.name}_loss"]
        assert losses[0] == pytest.approx(evaluated[0][f"{task.name}_loss"], rel=0.05)
        assert losses[-1] < losses[0]
        moved = np.any(task.readout.output_layer.kernel.numpy() != kernel, axis=0)
        assert moved.mean() > 0.9
    again = type(model).from_config(model.get_config())
    assert [task.num_sampled for task in again.auxiliary] == [200] * 4


@pytest.mark.parametrize("name", LOSSES)
def test_what_samples_need_is_said(name):
    with pytest.raises(ValueError, match="`num_sampled` must be a positive integer"):
        LOSSES[name](L.LSTMCell, num_sampled=0)
    kind = type(LOSSES[name](L.LSTMCell))
    with pytest.raises(ValueError, match="`num_sampled` must be None unless `drop_rate` is 0"):
        kind(num_sampled=10)
    network = keras.Sequential([keras.Input((TIME, 2)), L.LSTM(5), L.Dense(2)])
    with pytest.raises(ValueError, match="`num_sampled` must be None where tokens are real"):
        ak.AuxiliaryModel(network, [LOSSES[name](L.LSTMCell, num_sampled=10)])
