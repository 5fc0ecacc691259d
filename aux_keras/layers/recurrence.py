"""One interface to every recurrent cell: what `TruncatedRNN` and the decoders unroll.

A *record* is what a cell leaves after reading some tokens: a tuple of
`(rows, width)` tensors, of which the first is the output. `LSTMRecurrence` is the
compiled special case, `CellRecurrence` takes any Keras cell; both give the same
numbers, which a test holds them to.
"""

import functools
import os

import tensorflow as tf

from aux_keras.layers import lstm_scan

UNROLLED = 8  # steps per turn of the loop in `read`


def make_recurrence(cell, embedding, dtype):
    """The recurrence of a built cell that reads tokens through `embedding`.

    Args:
        cell: a built Keras RNN cell.
        embedding: a built `TokenEmbedding`, or None to read inputs as they are.
        dtype: compute dtype.
    """
    plain = lstm_scan.is_plain_lstm(cell)
    return (LSTMRecurrence if plain else CellRecurrence)(cell, embedding, dtype)


class LSTMRecurrence:
    """A plain LSTM with the embedding composed into its kernel; the record is (h, c)."""

    def __init__(self, cell, embedding, dtype):
        self.units, self.dtype = cell.units, dtype
        recurrent, kernel = tf.cast(cell.recurrent_kernel, dtype), tf.cast(cell.kernel, dtype)
        bias = tf.zeros(4 * cell.units, dtype) if cell.bias is None else tf.cast(cell.bias, dtype)
        if embedding is not None:
            kernel, bias = embedding.compose(kernel, bias)
        self.kernel = tf.concat([recurrent, kernel, bias[None]], axis=0)

    def inputs(self, tokens):
        """Tokens, rows first, as the scan reads them, see `time_major`."""
        return time_major(tokens, self.dtype)

    def first(self, rows):
        """The record before the first token."""
        return (tf.zeros((rows, self.units), self.dtype),) * 2

    def from_states(self, states):
        return tuple(states)

    @staticmethod
    def states(record):
        return tuple(record)

    def step(self, token, record):
        """The record after one more token, `(rows, features)`, or `(rows,)` characters."""
        features = lstm_scan.as_features(token, self.kernel, self.units)
        return lstm_scan.lstm_step(self.kernel, features, *record)[:2]

    def scan(self, inputs, record, lengths, cut=None, returns="states"):
        """Records over time, see `lstm_scan.lstm_scan`."""
        return lstm_scan.lstm_scan([self.kernel], inputs, [record], lengths, cut, returns)

    def collect(self, inputs, counts):
        """Constant records after `counts` tokens, see `collect_states`."""
        kernel, inputs = tf.stop_gradient(self.kernel), tf.stop_gradient(inputs)
        record = self.first(tf.shape(inputs)[1])
        return tuple(map(tf.stop_gradient, collect_lstm_states(kernel, inputs, *record, counts)))


class CellRecurrence:
    """Any Keras cell, in a TensorFlow loop; the record is (output, *states)."""

    def __init__(self, cell, embedding, dtype):
        self.cell, self.embedding, self.dtype = cell, embedding, dtype

    def inputs(self, tokens):
        return time_major(tokens, self.dtype)

    def first(self, rows):
        return self.from_states(tf.nest.flatten(self.cell.get_initial_state(batch_size=rows)))

    def from_states(self, states):
        states = tuple(tf.cast(s, self.dtype) for s in states)
        width = self.cell.output_size
        output = tf.zeros((tf.shape(states[0])[0], width), self.dtype)
        return (tf.ensure_shape(output, (states[0].shape[0], width)), *states)

    @staticmethod
    def states(record):
        return tuple(record[1:])

    def step(self, token, record):
        """The record after one more token, `(rows, features)`, or `(rows,)` characters."""
        features = token if self.embedding is None else self.embedding(token)
        states = list(record[1:])
        if tf.nest.is_nested(self.cell.state_size):
            states = tf.nest.pack_sequence_as(self.cell.state_size, states)
        output, states = self.cell(features, states)
        # A cell made under another dtype policy returns what that one says.
        return tuple(tf.cast(s, self.dtype) for s in (output, *tf.nest.flatten(states)))

    def scan(self, inputs, record, lengths, cut=None, returns="states"):
        steps = inputs.shape[0] or tf.shape(inputs)[0]
        kept = {"states": len(record), "outputs": 1, "last": 0}[returns]

        def body(t, record, arrays):
            state = tuple(cut_gradient(s, t, cut) for s in record) if cut else record
            valid = (t < lengths)[:, None]
            record = tuple(
                tf.where(valid, new, old)
                for new, old in zip(self.step(inputs[t], state), record, strict=True)
            )
            return t + 1, record, tuple(a.write(t, s) for a, s in zip(arrays, record))

        arrays = tuple(tf.TensorArray(s.dtype, steps, element_shape=s.shape) for s in record[:kept])
        _, record, arrays = tf.while_loop(
            lambda t, *_: t < steps, body, (0, record, arrays), maximum_iterations=steps
        )
        results = tuple(a.stack() for a in arrays) if kept else record
        results = tuple(map(tf.stop_gradient, results)) if cut == 0 else results
        return results[0] if returns == "outputs" else results

    def collect(self, inputs, counts):
        record = self.first(tf.shape(inputs)[1])
        collected = collect_states(
            lambda t, record: self.step(inputs[t], record), tf.shape(inputs)[0], record, counts
        )
        return tuple(map(tf.stop_gradient, collected))


@tf.function(jit_compile=True)
def collect_lstm_states(kernel, inputs, h, c, counts):
    """`collect_states` of the LSTM, compiled."""

    def step(t, state):
        features = lstm_scan.as_features(inputs[t], kernel, h.shape[-1])
        return lstm_scan.lstm_step(kernel, features, *state)[:2]

    return collect_states(step, tf.shape(inputs)[0], (h, c), counts)


def collect_states(step, steps, state, counts):
    """States after given numbers of tokens, from one forward run that keeps no others.

    Args:
        step: function of `(t, state)` that returns the state after step `t`.
        steps: int scalar, number of steps, at least 1.
        state: tuple of `(rows, width)`, before the first token.
        counts: `(rows, anchors)` int32 in [0, steps], numbers of tokens read.

    Returns:
        tuple of `(rows, anchors, width)`, one per state.
    """

    def body(t, state, picked):
        state, wanted = step(t, state), (counts == t + 1)[..., None]

        def pick():
            return tuple(tf.where(wanted, s[:, None], p) for s, p in zip(state, picked))

        # At most steps nobody wants a state, and all of `picked` would be copied for nothing.
        return t + 1, state, tf.cond(tf.reduce_any(wanted), pick, lambda: picked)

    picked = tuple(tf.repeat(s[:, None], counts.shape[1], axis=1) for s in state)
    return tf.while_loop(lambda t, *_: t < steps, body, (0, state, picked))[2]


def read(recurrence, tokens, record, lengths):
    """Reads on from a record, without gradient and without keeping any step.

    A plain loop for all cells, not compiled for given shapes: whatever batch and time come,
    nothing is compiled again.

    Args:
        recurrence: `LSTMRecurrence` or `CellRecurrence`.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        record: tuple of `(rows, width)`.
        lengths: `(rows,)` int32, how many of the tokens each row reads.

    Returns:
        the record after `lengths` more tokens, tuple of `(rows, width)`.
    """
    inputs = recurrence.inputs(tokens)
    steps = tf.shape(inputs)[0]

    def read_one(t, record):
        after, valid = recurrence.step(inputs[t], record), (t < lengths)[:, None]
        return tuple(tf.where(valid, new, old) for new, old in zip(after, record))

    def read_some(t, record):  # a turn of TensorFlow's loop costs as much as some steps
        for i in range(UNROLLED):
            record = read_one(t + i, record)
        return t + UNROLLED, record

    t, record = tf.while_loop(lambda t, _: t + UNROLLED <= steps, read_some, (0, tuple(record)))
    rest = tf.while_loop(
        lambda t, _: t < steps, lambda t, record: (t + 1, read_one(t, record)), (t, record)
    )
    return rest[1]


def time_major(tokens, dtype):
    """`(rows, time, features)` to `(time, rows, features)`; characters `(rows, time)` alike."""
    if tokens.shape.rank == 2:  # as floats in what Keras itself traces to save a model
        return tf.cast(tf.transpose(tokens), tf.int32)
    return tf.transpose(tf.cast(tokens, dtype), (1, 0, 2))


def cut_gradient(state, t, cut):
    """`state`, a constant at the start of every `cut`-th step after the first."""
    crosses = tf.logical_and(t > 0, t % cut == 0)
    return tf.where(crosses, tf.stop_gradient(state), state)


def at_counts(first, records, counts):
    """Records after `counts` tokens, from those of all steps.

    Args:
        first: the record before the first step, tuple of `(rows, width)`.
        records: those after each step, tuple of `(time, rows, width)`.
        counts: `(rows, anchors)` int32.

    Returns:
        tuple of `(rows, anchors, width)`.
    """
    row = tf.broadcast_to(tf.range(tf.shape(counts)[0])[:, None], tf.shape(counts))
    index = tf.stack([tf.maximum(counts - 1, 0), row], axis=-1)
    return tuple(
        tf.where(counts[..., None] > 0, tf.gather_nd(r, index), f[:, None])
        for f, r in zip(first, records)
    )


def map_rows(function, *rows, blocks=None, least=8):
    """Applies a function to blocks of rows, one block per core, and joins the results.

    TensorFlow runs the blocks side by side; a compiled loop on its own runs on one core.

    Args:
        function: takes and returns nests of tensors whose first axis is rows, and
            treats every row by itself.
        *rows: its arguments, with the same number of rows.
        blocks: number of blocks, by default the number of cores.
        least: no block is smaller than this, where the number of rows is known.

    Returns:
        `function(*rows)`.
    """
    first = tf.nest.flatten(rows)[0]
    size, blocks = first.shape[0], blocks or core_count()
    if size is not None:
        blocks = max(1, min(blocks, size // least))
    if blocks == 1:
        return function(*rows)
    size = size or tf.shape(first)[0]
    ends = [size * i // blocks for i in range(blocks + 1)]
    parts = [
        function(*tf.nest.map_structure(lambda r, lo=low, hi=high: r[lo:hi], rows))
        for low, high in zip(ends, ends[1:])
    ]
    return tf.nest.map_structure(lambda *part: tf.concat(part, axis=0), *parts)


@functools.cache
def core_count():
    """Cores of this process; 1 where a GPU does the work."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
