"""A stack of LSTMs over time as one compiled loop.

All layers of a stack take a step together, so that what one hands to the next stays in
cache. Under XLA a loop keeps little more than one core busy; `map_rows` gives every core
rows of its own.

Shapes: `time` steps, `rows` (sequences or segments), `units`, `features`. Sequences
are time-major, `(time, rows, features)`; or `(time, rows)` integers, which stand for
one-hot features and become such one step at a time.
"""

import keras
import tensorflow as tf

from aux_keras.scan import parts
from aux_keras.scan.rows import merge_anchors


def is_plain_lstm(cell, dropping=False):
    """Whether `cell` computes exactly the equations of `lstm_step`.

    Args:
        cell: Keras RNN cell.
        dropping: bool, whether its dropout counts.
    """
    return (
        type(cell) is keras.layers.LSTMCell
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
        and not (dropping and (cell.dropout or cell.recurrent_dropout))
    )


def lstm_step(kernel, x, h, c):
    """One step of the LSTM (Hochreiter & Schmidhuber 1997), gates in Keras's order.

    `[i, f, g, o] = [h, x, 1] K`, `c' = f c + i g`, `h' = o tanh(c')`. All gates come
    from one matrix product: a second one for `x`, or a bias added afterwards, takes
    XLA's slow path on a CPU and more than twice the time.

    Args:
        kernel: `(units + features + 1, 4 * units)`: recurrent kernel, input kernel, bias.
        x: `(rows, features)`.
        h: `(rows, units)`, the output before.
        c: `(rows, units)`, the cell state before.

    Returns:
        `(h, c, gates)`: `(rows, units)`, `(rows, units)`, `(rows, 4 * units)`.
    """
    i, f, g, o = tf.split(step_arguments(x, h) @ kernel, 4, axis=-1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    return o * tf.tanh(c), c, tf.concat([i, f, g, o], -1)


def step_arguments(x, h):
    """`[h, x, 1]`, what a step multiplies its kernel with: `(..., units + features + 1)`."""
    return tf.concat([h, x, tf.ones_like(h[..., :1])], -1)


def as_features(tokens, kernel, units):
    """`(..., features)` tokens as they are; `(...)` integers as one-hot features."""
    if tokens.dtype.is_floating:
        return tokens
    return tf.one_hot(tokens, kernel.shape[0] - units - 1, dtype=kernel.dtype)


def stack_arrays(kernels, states, steps):
    """For each layer, TensorArrays for what `lstm_forward` returns, the first states written."""

    def before(s):
        return tf.TensorArray(s.dtype, steps + 1, element_shape=s.shape).write(0, s)

    def gates(kernel, h):
        return tf.TensorArray(h.dtype, steps, element_shape=(h.shape[0], kernel.shape[1]))

    return [(before(h), before(c), gates(k, h)) for k, (h, c) in zip(kernels, states)]


def stack_step(kernels, t, x, states, arrays, valid=None):
    """One step of every layer, written down at step `t`.

    Args:
        kernels, states, arrays: lists, one of each per layer, bottom first.
        t: int scalar.
        x: `(rows, features)`, what the bottom layer reads.
        valid: `(rows, 1)` bool; other rows rest. None: none does.

    Returns:
        the new `(states, arrays)`.
    """
    after, written = [], []
    for kernel, (h, c), (hs, cs, gates) in zip(kernels, states, arrays):
        new_h, new_c, gate = lstm_step(kernel, x, h, c)
        if valid is not None:
            new_h, new_c = tf.where(valid, new_h, h), tf.where(valid, new_c, c)
        written.append((hs.write(t + 1, new_h), cs.write(t + 1, new_c), gates.write(t, gate)))
        after.append((new_h, new_c))
        x = new_h
    return after, written


@tf.function(jit_compile=True, autograph=False)
def lstm_forward(kernels, inputs, states, lengths):
    """As many steps of all layers as the longest row has. Rows rest from `lengths` on.

    Returns:
        `(residuals, last)`. Residuals are per layer `(hs, cs, gates)`: states before each step
        and after the last, `(time + 1, rows, units)`, and gates `(time, rows, 4 * units)`; all
        zero after the longest row. Last: per layer `(h, c)` after the last step.
    """
    steps, units = tf.shape(inputs)[0], states[0][0].shape[-1]
    longest = tf.minimum(tf.reduce_max(lengths), steps)

    def body(t, states, arrays):
        x, valid = as_features(inputs[t], kernels[0], units), (t < lengths)[:, None]
        return t + 1, *stack_step(kernels, t, x, states, arrays, valid)

    loop = (0, states, stack_arrays(kernels, states, steps))
    loop = tf.while_loop(lambda t, *_: t < longest, body, loop, maximum_iterations=steps)
    return [tuple(array.stack() for array in layer) for layer in loop[2]], loop[1]


def residual_shapes(kernel, h, steps):
    """Shapes of a layer's residuals of so many steps."""
    return [(steps + 1, *h.shape)] * 2 + [(steps, h.shape[0], kernel.shape[1])]


@tf.function(autograph=False)  # traced once for all blocks of rows
def forward_in_parts(kernels, inputs, states, lengths, size):
    """As `lstm_forward`, in parts of `size` steps, whose number is not known beforehand.

    Returns:
        `(residuals, last, after)`. Residuals: the flows of TensorArrays with one entry for each
        part. After: the top layer's `(h, c)` after each step, `(time, rows, units)`.
    """
    count = parts.count_parts(inputs, size)

    def run_part(i, states, arrays):
        part = parts.read_part(inputs, i * size, size)
        kept, after = lstm_forward(kernels, part, states, lengths - i * size)
        arrays = tf.nest.map_structure(lambda array, k: array.write(i, k), arrays, kept)
        return i + 1, parts.with_shapes_of(states, after), arrays

    arrays = [
        tuple(
            tf.TensorArray(h.dtype, count, element_shape=shape)
            for shape in residual_shapes(kernel, h, size)
        )
        for kernel, (h, _) in zip(kernels, states)
    ]
    _, last, arrays = tf.while_loop(lambda i, *_: i < count, run_part, (0, states, arrays))
    after = [merge_anchors(a.stack()[:, 1:])[: tf.shape(inputs)[0]] for a in arrays[-1][:2]]
    return tf.nest.map_structure(lambda array: array.flow, arrays), last, after
