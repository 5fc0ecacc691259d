"""The LSTM over time as two compiled loops: states forward, gradients back.

TensorFlow differentiates a loop by keeping every intermediate of every step. The
LSTM needs its states and gates only, so its back-propagation through time is
written out, once, for all uses: windows, decoders, full back-propagation. Under
XLA a loop runs on one core; `map_rows` gives every core rows of its own.

Shapes: `time` steps, `rows` (sequences or segments), `units`, `features`. Sequences
are time-major, `(time, rows, features)`, and the last feature of every input is 1.
"""

import keras
import tensorflow as tf


def is_plain_lstm(cell):
    """Whether `cell` computes exactly the equations of `lstm_step`."""
    return (
        type(cell) is keras.layers.LSTMCell
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
        and not cell.dropout
        and not cell.recurrent_dropout
    )


def lstm_step(kernel, inputs, h, c):
    """One step of the LSTM (Hochreiter & Schmidhuber 1997), gates in Keras's order.

    `[i, f, g, o] = [h, x, 1] K`, `c' = f c + i g`, `h' = o tanh(c')`. All gates come
    from one matrix product: a second one for `x`, or a bias added afterwards, takes
    XLA's slow path on a CPU and more than twice the time.

    Args:
        kernel: `(units + features, 4 * units)`: recurrent kernel, input kernel, bias.
        inputs: `(rows, features)`, the last feature is 1.
        h: `(rows, units)`, the output before.
        c: `(rows, units)`, the cell state before.

    Returns:
        `(h, c, gates)`: `(rows, units)`, `(rows, units)`, `(rows, 4 * units)`.
    """
    i, f, g, o = tf.split(tf.concat([h, inputs], -1) @ kernel, 4, axis=-1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    return o * tf.tanh(c), c, tf.concat([i, f, g, o], -1)


def lstm_step_gradient(kernel, inputs, h, c, gates, dh, dc):
    """Gradients of one `lstm_step`: of its arguments, from those of its results.

    Args:
        kernel, inputs, h, c: the step's arguments.
        gates: the step's third result.
        dh: `(rows, units)`, gradient of the step's `h`.
        dc: `(rows, units)`, gradient of the step's `c`.

    Returns:
        `(dkernel, dinputs, dh, dc)`, each of its argument's shape.
    """
    i, f, g, o = tf.split(gates, 4, axis=-1)
    tanh_c = tf.tanh(f * c + i * g)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    di, df, dg, do = dc * g, dc * c, dc * i, dh * tanh_c
    dz = tf.concat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], -1)
    arguments = tf.concat([h, inputs], -1)
    dkernel = tf.matmul(arguments, dz, transpose_a=True)
    dh, dinputs = tf.split(
        tf.matmul(dz, kernel, transpose_b=True), [h.shape[-1], inputs.shape[-1]], -1
    )
    return dkernel, dinputs, dh, dc * f


def state_arrays(state, steps):
    """TensorArrays for `steps + 1` states, the first one written."""
    return tuple(
        tf.TensorArray(s.dtype, steps + 1, element_shape=s.shape).write(0, s) for s in state
    )


@tf.function(jit_compile=True)
def lstm_forward(kernel, inputs, h, c, lengths):
    """All steps. Rows rest (repeat their state) from `lengths` on.

    Returns:
        `(hs, cs, gates)`: states *before* each step and after the last,
        `(time + 1, rows, units)`, and gates `(time, rows, 4 * units)`.
    """
    steps = tf.shape(inputs)[0]

    def body(t, h, c, hs, cs, gates):
        new_h, new_c, gate = lstm_step(kernel, inputs[t], h, c)
        valid = (t < lengths)[:, None]
        h, c = tf.where(valid, new_h, h), tf.where(valid, new_c, c)
        return t + 1, h, c, hs.write(t + 1, h), cs.write(t + 1, c), gates.write(t, gate)

    gates = tf.TensorArray(h.dtype, steps, element_shape=(h.shape[0], kernel.shape[1]))
    loop = (0, h, c, *state_arrays((h, c), steps), gates)
    loop = tf.while_loop(lambda t, *_: t < steps, body, loop, maximum_iterations=steps)
    return tuple(array.stack() for array in loop[3:])


@tf.function(jit_compile=True)
def lstm_backward(kernel, inputs, lengths, cut, residuals, dstates, dlast):
    """Back-propagation through time, from the gradients of `lstm_forward`'s states.

    No gradient crosses the start of a step `t > 0` with `t % cut == 0`; resting rows take
    no step and pass it on.

    Args:
        kernel, inputs, lengths: as in `lstm_forward`.
        cut: int scalar, at least 1.
        residuals: results of `lstm_forward`.
        dstates: gradients of `hs` and `cs`, or None when only the last are used.
        dlast: gradients of `hs[-1]` and `cs[-1]`, `(rows, units)`.

    Returns:
        Gradients `(dkernel, dinputs, dh, dc)` of the arguments of `lstm_forward`.
    """
    hs, cs, gates = residuals
    steps = tf.shape(inputs)[0]

    def body(t, dkernel, dinputs, dh, dc):
        valid = (t < lengths)[:, None]
        zeros = tf.zeros_like(dh)
        dk, dx, new_dh, new_dc = lstm_step_gradient(
            kernel, inputs[t], hs[t], cs[t], gates[t],
            tf.where(valid, dh, zeros), tf.where(valid, dc, zeros),
        )  # fmt: skip
        passes = tf.logical_or(t == 0, t % cut != 0)
        dh = tf.where(valid, tf.where(passes, new_dh, zeros), dh)
        dc = tf.where(valid, tf.where(passes, new_dc, zeros), dc)
        if dstates is not None:
            dh, dc = dh + dstates[0][t], dc + dstates[1][t]
        return t - 1, dkernel + dk, dinputs.write(t, dx), dh, dc

    dinputs = tf.TensorArray(inputs.dtype, steps, element_shape=inputs.shape[1:])
    loop = (steps - 1, tf.zeros_like(kernel), dinputs, *dlast)
    loop = tf.while_loop(lambda t, *_: t >= 0, body, loop, maximum_iterations=steps)
    _, dkernel, dinputs, dh, dc = loop
    return dkernel, dinputs.stack(), dh, dc


def lstm_scan(kernel, inputs, state, lengths, cut=None, residuals=None, last=False):
    """Runs an LSTM over time; differentiable, with the gradient cut every `cut` steps.

    Args:
        kernel: `(units + features, 4 * units)`, see `lstm_step`.
        inputs: `(time, rows, features)`, the last feature is 1.
        state: `(h, c)`, each `(rows, units)`.
        lengths: `(rows,)` int32, steps after which a row rests.
        cut: the state becomes a constant at the start of every `cut`-th step after
            the first. None: never. 0: the results are constants.
        residuals: results of `lstm_forward` if they are known already.
        last: whether to return the last state only.

    Returns:
        `(h, c)`: after the last step, `(rows, units)`, if `last`; else before each step
        and after the last, `(time + 1, rows, units)`.
    """
    never = tf.shape(inputs)[0] + 1
    every = tf.constant(cut) if cut else never

    @tf.custom_gradient
    def scan(kernel, inputs, h, c):
        # Constants: an eager tape would otherwise differentiate the compiled loop too.
        kernel, inputs, h, c = map(tf.stop_gradient, (kernel, inputs, h, c))
        kept = residuals
        if kept is None:
            kept = lstm_forward(kernel, inputs, h, c, lengths)

        def gradient(dh, dc):
            dstates, dlast = None, (dh, dc)
            if not last:
                dstates, dlast = (dh, dc), (dh[-1], dc[-1])
            return lstm_backward(kernel, inputs, lengths, every, kept, dstates, dlast)

        return tuple(s[-1] if last else s for s in kept[:2]), gradient

    states = scan(kernel, inputs, *state)
    return tuple(map(tf.stop_gradient, states)) if cut == 0 else states


@tf.function(jit_compile=True)
def lstm_collect(kernel, inputs, h, c, counts):
    """`collect_states` of the LSTM, compiled."""

    def step(x, state):
        return lstm_step(kernel, x, *state)[:2]

    return collect_states(step, inputs, (h, c), counts)


def collect_states(step, inputs, state, counts, chunk=64):
    """States after given numbers of tokens, from one forward run that keeps no others.

    Runs in chunks; of each chunk's states the wanted ones are gathered and the rest
    dropped, so that memory does not grow with time.

    Args:
        step: function of `(inputs[t], state)` that returns the next state.
        inputs: `(time, rows, features)`.
        state: tuple of `(rows, width)`, before the first token.
        counts: `(rows, anchors)` int32 in [0, time], numbers of tokens read.
        chunk: number of states held at once.

    Returns:
        tuple of `(rows, anchors, width)`, one per state.
    """
    steps, rows = tf.shape(inputs)[0], tf.shape(counts)[0]
    row = tf.broadcast_to(tf.range(rows)[:, None], tf.shape(counts))
    picked = tuple(tf.repeat(s[:, None], counts.shape[1], axis=1) for s in state)

    def run_chunk(first, state, picked):
        def body(t, state, arrays):
            state = step(inputs[first + t], state)
            return t + 1, state, tuple(a.write(t, s) for a, s in zip(arrays, state))

        arrays = tuple(tf.TensorArray(s.dtype, chunk, element_shape=s.shape) for s in state)
        size = tf.minimum(chunk, steps - first)
        _, state, arrays = tf.while_loop(lambda t, *_: t < size, body, (0, state, arrays))
        index = counts - 1 - first
        inside = tf.logical_and(index >= 0, index < size)[..., None]
        at = tf.stack([tf.clip_by_value(index, 0, chunk - 1), row], -1)
        picked = tuple(
            tf.where(inside, tf.gather_nd(a.stack(), at), p) for a, p in zip(arrays, picked)
        )
        return first + chunk, state, picked

    loop = tf.while_loop(lambda first, *_: first < steps, run_chunk, (0, state, picked))
    return loop[2]
