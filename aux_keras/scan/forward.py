"""Forward runs that keep no steps: the states wanted, or the outputs and a state for each chunk."""

import tensorflow as tf

from aux_keras.scan import lstm, parts
from aux_keras.scan.rows import merge_anchors


def collect_lstm_states(kernel, inputs, state, counts):
    """`collect_states` of the LSTM, compiled: `(time, rows, features)` inputs, states `(h, c)`.

    A sequence whose length is not known beforehand is read in parts.
    """
    state, picked = tuple(state), before_anchors(state, counts)
    if inputs.shape[0] is not None:
        return collect_part(kernel, inputs, state, picked, counts)[1]
    return collect_in_parts(kernel, inputs, state, picked, counts, parts.PART)


@tf.function(autograph=False)  # traced once for all blocks of rows
def collect_in_parts(kernel, inputs, state, picked, counts, size):
    """`collect_states` of an LSTM that reads `inputs` in parts of `size` steps."""

    def run_part(start, state, picked):
        part = parts.read_part(inputs, start, size)
        after = collect_part(kernel, part, state, picked, counts - start)
        return start + size, *parts.with_shapes_of((state, picked), after)

    longest = tf.reduce_max(counts)
    return tf.while_loop(lambda start, *_: start < longest, run_part, (0, state, picked))[2]


@tf.function(jit_compile=True, autograph=False)
def collect_part(kernel, inputs, state, picked, counts):
    """`collect_states` of an LSTM that reads `inputs`, `(time, rows, features)`."""
    steps = tf.minimum(tf.reduce_max(counts), tf.shape(inputs)[0])
    return collect_states(lstm_states(kernel, inputs), state, picked, counts, steps)


def before_anchors(state, counts):
    """The first state for each of `counts`, `(rows, anchors)`: tensors `(rows, anchors, width)`."""
    # In a graph `tf.repeat` is some thirty operations.
    return tuple(tf.stack([s] * counts.shape[1], axis=1) for s in state)


def lstm_states(kernel, inputs):
    """The function of `(t, (h, c))` that returns the states after step `t` of the LSTM."""

    def step(t, state):
        features = lstm.as_features(inputs[t], kernel, state[0].shape[-1])
        return lstm.lstm_step(kernel, features, *state)[:2]

    return step


def collect_states(step, state, picked, counts, steps):
    """States after given numbers of tokens, from one forward run that keeps no others.

    Args:
        step: function of `(t, state)` that returns the state after step `t`.
        state: tuple of `(rows, width)`, before the first token.
        picked: tuple of `(rows, anchors, width)`, one per state: those of other counts.
        counts: `(rows, anchors)` int32, numbers of tokens read.
        steps: int scalar, the number of tokens.

    Returns:
        `(state, picked)`: the state after `steps` tokens, and those after `counts` of them.
    """

    def body(t, state, picked):
        state, wanted = step(t, state), (counts == t + 1)[..., None]

        def pick():
            return tuple(tf.where(wanted, s[:, None], p) for s, p in zip(state, picked))

        # At most steps nobody wants a state, and all of `picked` would be copied for nothing.
        return t + 1, state, tf.cond(tf.reduce_any(wanted), pick, lambda: picked)

    loop = (0, tuple(state), picked)
    return tf.while_loop(lambda t, *_: t < steps, body, loop)[1:]


def lstm_outputs_and_starts(kernel, inputs, h, c, lengths, size):
    """`outputs_and_starts` of the LSTM, compiled; in parts as `collect_lstm_states`."""
    if inputs.shape[0] is not None:
        return outputs_and_starts_of_part(kernel, inputs, h, c, lengths, size)
    return outputs_and_starts_in_parts(kernel, inputs, h, c, lengths, size, parts.PART)


@tf.function(autograph=False)
def outputs_and_starts_in_parts(kernel, inputs, h, c, lengths, size, part_size):
    """`outputs_and_starts` of an LSTM that reads `inputs` in parts of `part_size` steps."""

    def run_part(i, state, arrays):
        begun = i * part_size
        part = parts.read_part(inputs, begun, part_size)
        outputs, starts, after = outputs_and_starts_of_part(
            kernel, part, *state, lengths - begun, size, begun
        )
        arrays = tf.nest.map_structure(lambda a, r: a.write(i, r), arrays, (outputs, *starts))
        return i + 1, parts.with_shapes_of(state, after), arrays

    count, most = parts.count_parts(inputs, part_size), -(-part_size // size)
    arrays = tuple(
        tf.TensorArray(h.dtype, count, element_shape=(steps, *h.shape))
        for steps in (part_size, most, most)
    )
    _, last, arrays = tf.while_loop(lambda i, *_: i < count, run_part, (0, (h, c), arrays))
    outputs, *starts = (array.stack() for array in arrays)
    first = tf.range(parts.count_parts(inputs, size)) * size  # steps of the chunks
    part = first // part_size
    at = part * most + first // size - starts_before(part * part_size, size)
    return (
        merge_anchors(outputs),
        tuple(tf.gather(merge_anchors(s), at) for s in starts),
        last,
    )


def starts_before(step, size):
    """The number of those of all `size`-th steps that come before a step."""
    return -(-step // size)


@tf.function(jit_compile=True, autograph=False)
def outputs_and_starts_of_part(kernel, inputs, h, c, lengths, size, begun=0):
    """`outputs_and_starts` of an LSTM that reads `inputs`, `(time, rows, features)`."""
    steps = tf.shape(inputs)[0]
    longest = tf.minimum(tf.reduce_max(lengths), steps)
    step = lstm_states(kernel, inputs)
    return outputs_and_starts(step, (h, c), lengths, size, steps, longest, begun)


def outputs_and_starts(step, record, lengths, size, steps, longest, begun=0):
    """Outputs of all steps and the records before every `size`-th, from one forward run.

    Args:
        step: function of `(t, record)` that returns the record after step `t`.
        record: the one before the first step, tuple of `(rows, width)`.
        lengths: `(rows,)` int32; rows rest afterwards.
        size: int.
        steps: int, the number of time steps.
        longest: int, how many of them are run: all, unless it is compiled, since a TensorArray
            with unwritten entries has no shape.
        begun: int scalar, steps before the first one of these.

    Returns:
        `(outputs, starts, last)`: `(time, rows, units)`, zeros after `longest`; tuple of
        `(count, rows, width)`; the record after `longest`.
    """
    count = -(-steps // size)  # at most

    def body(t, record, outputs, starts):
        at = (t + begun) // size - starts_before(begun, size)
        at = tf.where((t + begun) % size == 0, at, count)  # an entry more, for what nobody wants
        starts = tuple(array.write(at, s) for array, s in zip(starts, record))
        valid = (t < lengths)[:, None]
        record = tuple(tf.where(valid, new, s) for new, s in zip(step(t, record), record))
        return t + 1, record, outputs.write(t, record[0]), starts

    def array(s, size):
        return tf.TensorArray(s.dtype, size, element_shape=s.shape)

    starts = tuple(array(s, count + 1).write(count, s) for s in record)
    loop = (0, record, array(record[0], steps), starts)
    _, last, outputs, starts = tf.while_loop(lambda t, *_: t < longest, body, loop)
    return outputs.stack(), tuple(a.stack()[:count] for a in starts), last
