"""Attention layers against loops over positions, for sequences of every length."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.attention.transformer_block import sinusoidal_positions

UNITS, HEADS = 8, 2
LAYERS = {
    "full": lambda: ak.SelfAttention(HEADS),
    "local": lambda: ak.LocalAttention(HEADS, block=4, margin=2),
    "wide margin": lambda: ak.LocalAttention(HEADS, block=4, margin=5),
    "no margin": lambda: ak.LocalAttention(HEADS, block=3, margin=0),
    "compressed": lambda: ak.MemoryCompressedAttention(HEADS, compression=3),
    "compressed by 4": lambda: ak.MemoryCompressedAttention(HEADS, compression=4),
    "paper's local": lambda: ak.LocalAttention(HEADS, block=256, margin=128),
}
LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17]


def sequences(lengths=LENGTHS, time=None):
    shape = (len(lengths), time or max(lengths), UNITS)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def randomized(layer):
    """With biases too, so that none hides behind a zero."""
    layer.build((None, None, UNITS))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    return layer


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def compressed(convolution, x):
    """Every `stride` vectors, the last of them zeros if missing, to one."""
    kernel, bias, size = (
        convolution.kernel.numpy(),
        convolution.bias.numpy(),
        convolution.strides[0],
    )
    return np.array([
        sum(x[i + j] @ kernel[j] for j in range(size) if i + j < len(x)) + bias
        for i in range(0, len(x), size)
    ])  # fmt: skip


def slow(layer, x):
    """One sequence `(length, units)`, one position and one head at a time."""
    query, key, value = (
        x @ dense.kernel.numpy() for dense in (layer.query, layer.key, layer.value)
    )
    if isinstance(layer, ak.MemoryCompressedAttention):
        key, value = (
            compressed(c, t)
            for c, t in ((layer.key_compression, key), (layer.value_compression, value))
        )
    depth, outputs = UNITS // HEADS, np.zeros_like(query)
    for t in range(len(x)):
        seen = range(len(key))
        if isinstance(layer, ak.LocalAttention):
            start = t // layer.block * layer.block
            seen = [
                i for i in seen if start - layer.margin <= i < start + layer.block + layer.margin
            ]
        for head in range(HEADS):
            part = slice(head * depth, (head + 1) * depth)
            weights = softmax(np.array([query[t, part] @ key[i, part] for i in seen]) / depth**0.5)
            outputs[t, part] = sum(w * value[i, part] for w, i in zip(weights, seen))
    return outputs @ layer.output_layer.kernel.numpy()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("traced", [False, True])
def test_equals_a_loop_over_positions(name, traced):
    layer, x = randomized(LAYERS[name]()), sequences()
    run = layer
    if traced:  # with unknown batch and time
        run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, UNITS)),
                                                  tf.TensorSpec((None,), tf.int32)])  # fmt: skip
    outputs = run(tf.constant(x), tf.constant(LENGTHS))
    for row, output, length in zip(x, outputs, LENGTHS):
        np.testing.assert_allclose(output[:length], slow(layer, row[:length]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [255, 256, 257, 400])
def test_local_attention_at_the_papers_block_boundaries(length):
    layer, x = randomized(LAYERS["paper's local"]()), sequences([length], time=520)
    outputs = layer(x, tf.constant([length]))[0, :length]
    np.testing.assert_allclose(outputs, slow(layer, x[0, :length]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_never_matters(name):
    layer, x = randomized(LAYERS[name]()), sequences([9, 5])
    padded = np.concatenate([x, np.full((2, 7, UNITS), 1e3, "float32")], axis=1)
    results = []
    for inputs in (x, padded):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, tf.constant([9, 5]))
            loss = tf.reduce_sum(outputs[0, :9] ** 2) + tf.reduce_sum(outputs[1, :5] ** 2)
        results.append([loss, *tape.gradient(loss, layer.trainable_weights)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_local_attention_makes_no_matrix_of_all_pairs():
    """At 16,384 steps: the largest tensor is that of the weights inside blocks."""
    layer, time = ak.LocalAttention(HEADS, block=256, margin=128), 16_384
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, time, UNITS))).graph
    sizes = [
        int(np.prod(output.shape))
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    assert max(sizes) == HEADS * time * 512  # 256 positions and 128 on each side
    assert max(sizes) < time**2 / 10


def test_full_attention_is_that_of_keras():
    layer, x = randomized(ak.SelfAttention(HEADS)), sequences()
    stock = keras.layers.MultiHeadAttention(HEADS, UNITS // HEADS, use_bias=False)
    stock.build(x.shape, x.shape)
    for weight, ours in zip(
        stock.weights, (layer.query, layer.key, layer.value, layer.output_layer)
    ):
        weight.assign(np.reshape(ours.kernel, weight.shape))
    mask = np.arange(x.shape[1]) < np.array(LENGTHS)[:, None]
    wanted = stock(x, x, attention_mask=mask[:, None, :])
    valid = mask[..., None]
    outputs = layer(x, tf.constant(LENGTHS))
    np.testing.assert_allclose(outputs * valid, wanted * valid, rtol=1e-4, atol=1e-5)


def test_positions_are_sines_and_cosines():
    positions = sinusoidal_positions(20, 6).numpy()
    for t in (0, 1, 19):
        for i, scale in enumerate((1, 100, 10_000)):
            np.testing.assert_allclose(positions[t, i], np.sin(t / scale), atol=1e-6)
            np.testing.assert_allclose(positions[t, 3 + i], np.cos(t / scale), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ak.SelfAttention(0), "`num_heads` must be a positive integer"),
        (lambda: ak.SelfAttention(3).build((None, None, 8)), "`num_heads` must divide the width"),
        (lambda: ak.LocalAttention(2, block=0, margin=1), "`block` must be a positive integer"),
        (
            lambda: ak.LocalAttention(2, block=4, margin=-1),
            "`margin` must be an integer of at least",
        ),
        (lambda: ak.MemoryCompressedAttention(2, 0), "`compression` must be a positive integer"),
        (lambda: ak.TransformerBlock(ak.SelfAttention(2), 8, 1.0), "`drop_rate` must be in"),
        (lambda: ak.TransformerBlock(ak.SelfAttention(2), 0, 0.1), "`intermediate_dim` must be"),
        (lambda: ak.TransformerBlock(ak.SelfAttention(2), 8, 0.1, (3,)), "`kernel_sizes` must be"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
