"""Embedding, DropConnect, losses and randomness against their definitions."""

import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras import randomness
from aux_keras.losses import objective as auxiliary_loss
from aux_keras.losses.scheduled_sampling import teacher_probability

RNG = np.random.default_rng(0)


def test_embedding_composes_into_a_kernel():
    layer = ak.TokenEmbedding(5)
    layer.build((None, 3))
    layer.bias.assign(RNG.normal(size=5))
    x, kernel, bias = (RNG.normal(size=s).astype("f") for s in ((4, 3), (5, 7), (7,)))
    composed, offset = layer.compose(tf.constant(kernel), tf.constant(bias))
    np.testing.assert_allclose(
        x @ composed + offset, layer(x).numpy() @ kernel + bias, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("units", [0, -3, 2.0, None])
def test_embedding_names_bad_units(units):
    with pytest.raises(ValueError, match="`units` must be a positive integer"):
        ak.TokenEmbedding(units)


@pytest.mark.parametrize("per", ["example", "batch"])
def test_drop_connect_equals_a_loop_over_rows(per):
    layer = ak.DropConnectDense(4, rate=0.25, per=per)
    layer.build((None, 6))
    layer.bias.assign(RNG.normal(size=4))
    x = RNG.normal(size=(5, 3, 6)).astype("f")
    mask = layer.draw_mask(5, tf.constant([1, 2]))
    assert set(np.unique(mask)) == {0.0, np.float32(1 / 0.75)}
    got = layer(x, training=True, drop_mask=mask)
    for b in range(5):
        kernel = layer.kernel.numpy() * (mask[b] if per == "example" else mask)
        np.testing.assert_allclose(got[b], x[b] @ kernel + layer.bias, rtol=1e-5, atol=1e-5)
    plain = x @ layer.kernel.numpy() + layer.bias
    np.testing.assert_allclose(layer(x, training=False), plain, rtol=1e-5, atol=1e-5)


def test_drop_connect_is_unbiased_and_drops_at_its_rate():
    layer = ak.DropConnectDense(50, rate=0.3, seed=1)
    layer.build((None, 40))
    mask = layer.draw_mask(200, tf.constant([1, 2])).numpy()
    n = mask.size
    assert abs(np.mean(mask == 0) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / n)
    assert not np.array_equal(mask[0], mask[1])
    first, second = (layer(np.ones((2, 40), "f"), training=True) for _ in range(2))
    assert not np.allclose(first, second)  # a new mask at every call


@pytest.mark.parametrize(("options", "name"), [({"rate": 1.0}, "rate"), ({"per": "row"}, "per")])
def test_drop_connect_names_bad_arguments(options, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        ak.DropConnectDense(3, **{"rate": 0.5, **options})


def test_equations_1_and_2():
    targets, predictions = RNG.normal(size=(2, 3, 2, 4, 5)).astype("f")
    lengths = np.array([[4, 0], [1, 2], [3, 4]])
    per_token = auxiliary_loss.token_loss(targets, predictions)
    per_segment = auxiliary_loss.segment_loss(per_token, lengths)
    total = 0.0
    for b in range(3):
        for i in range(2):
            difference = targets[b, i, : lengths[b, i]] - predictions[b, i, : lengths[b, i]]
            np.testing.assert_allclose(per_segment[b, i], np.sum(difference**2), rtol=1e-5)
            total += np.sum(difference**2)
    loss = auxiliary_loss.normalized_auxiliary_loss(per_segment, lengths)
    np.testing.assert_allclose(loss, total / lengths.sum(), rtol=1e-5)
    assert auxiliary_loss.normalized_auxiliary_loss(per_segment * 0, lengths * 0) == 0


def test_teacher_probability_falls_linearly_to_zero():
    steps = [0, 25, 99, 100, 5000]
    got = [float(teacher_probability(step, 100)) for step in steps]
    np.testing.assert_allclose(got, [1, 0.75, 0.01, 0, 0], atol=1e-6)


def test_draws_are_the_same_eagerly_traced_and_under_xla():
    def draws():
        key = randomness.fold_in(7, 1, tf.constant(12))
        return (
            randomness.uniform(key, (3, 4)),
            randomness.uniform_integer(key, tf.constant([[1, 2], [100, 5]])),
        )

    eager = draws()
    for compiled in (False, True):
        for one, other in zip(eager, tf.function(draws, jit_compile=compiled)()):
            np.testing.assert_array_equal(one, other)


def test_keys_of_different_components_differ():
    keys = [
        randomness.fold_in(seed, a, b) for seed in (0, 1, 2**40) for a in (0, 1) for b in (0, 1)
    ]
    assert len({tuple(k.numpy()) for k in keys}) == len(keys)


def test_dropout_keeps_the_mean_and_is_a_function_of_its_key():
    x, key = tf.fill((50_000, 2), 3.0), tf.constant([1, 2])
    dropped = randomness.dropout(x, 0.25, key, 0).numpy()
    assert set(np.unique(dropped)) == {0.0, 4.0}
    assert abs((dropped == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(dropped, randomness.dropout(x, 0.25, key, 0))
    assert (dropped != randomness.dropout(x, 0.25, key, 1).numpy()).any()
    assert randomness.dropout(x, 0.0, None, 0) is x
