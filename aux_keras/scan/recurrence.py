"""One interface to every recurrent cell: what `TruncatedRNN` and the decoders unroll.

A *record* is what a cell leaves after reading some tokens: a tuple of
`(rows, width)` tensors, of which the first is the output. `LSTMRecurrence` is the
compiled special case, `CellRecurrence` takes any Keras cell; both give the same
numbers, which a test holds them to.
"""

import contextlib
import inspect

import tensorflow as tf

from aux_keras.arguments import output_size, state_sizes
from aux_keras.scan import forward, lstm, lstm_gradient
from aux_keras.scan.cell_dropout import draw_masks, use_masks

UNROLLED = 8  # steps per turn of the loop in `read`
ONE_HOT = 512  # largest vocabulary that an LSTM reads as one-hot features


def make_recurrence(cell, embedding, dtype, training=False, key=None):
    """The recurrence of a built cell that reads tokens through `embedding`.

    Args:
        cell: a built Keras RNN cell.
        embedding: a built `TokenEmbedding`, or None to read inputs as they are.
        dtype: compute dtype.
        training: bool, what a cell that asks for it is told.
        key: `(2,)` int32, of the masks of dropout inside the cell; None drops nothing.
    """
    if lstm.is_plain_lstm(cell, dropping=key is not None):
        return LSTMRecurrence(cell, embedding, dtype)
    return CellRecurrence(cell, embedding, dtype, training, key)


class LSTMRecurrence:
    """A plain LSTM; the record is (h, c).

    The embedding is composed into the kernel, but for words of a large vocabulary: these are
    looked up in `table`.
    """

    def __init__(self, cell, embedding, dtype):
        self.units, self.dtype = cell.units, dtype
        recurrent, kernel = tf.cast(cell.recurrent_kernel, dtype), tf.cast(cell.kernel, dtype)
        bias = tf.zeros(4 * cell.units, dtype) if cell.bias is None else tf.cast(cell.bias, dtype)
        self.table = None
        if embedding is not None and (embedding.vocabulary_size or 0) > ONE_HOT:
            self.table = tf.cast(embedding.kernel, dtype)
        elif embedding is not None:
            kernel, bias = embedding.compose(kernel, bias)
        self.kernel = tf.concat([recurrent, kernel, bias[None]], axis=0)

    def look_up(self, tokens):
        """Embedded words of a large vocabulary; other tokens as they are."""
        if self.table is None or tokens.dtype.is_floating:
            return tokens
        return tf.gather(self.table, tokens)

    def inputs(self, tokens):
        """Tokens, rows first, as the scan reads them, see `time_major`."""
        return self.look_up(time_major(tokens, self.dtype))

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
        features = lstm.as_features(self.look_up(token), self.kernel, self.units)
        return lstm.lstm_step(self.kernel, features, *record)[:2]

    def scan(self, inputs, record, lengths, cut=None, returns="states"):
        """Records over time, see `lstm_scan`."""
        return lstm_gradient.lstm_scan([self.kernel], inputs, [record], lengths, cut, returns)

    def collect(self, tokens, first, counts):
        """Constant records after `counts` tokens, rows first, see `collect_states`."""
        inputs = self.inputs(tokens)
        kernel, inputs, *first = map(tf.stop_gradient, (self.kernel, inputs, *first))
        return forward.collect_lstm_states(kernel, inputs, first, counts)

    def outputs_and_starts(self, inputs, record, lengths, size):
        """See the function of this name."""
        return forward.lstm_outputs_and_starts(self.kernel, inputs, *record, lengths, size)


class CellRecurrence:
    """Any Keras cell, in a TensorFlow loop; the record is (output, *states, *dropout masks)."""

    def __init__(self, cell, embedding, dtype, training=False, key=None):
        self.cell, self.embedding, self.dtype, self.key = cell, embedding, dtype, key
        self.options = {"training": training} if takes_training(cell) else {}
        self.parts = 1 + len(tf.nest.flatten(cell.state_size))  # of a record, without masks

    def inputs(self, tokens):
        """Tokens, rows first, as the scan reads them, see `time_major`."""
        return time_major(tokens, self.dtype)

    def first(self, rows):
        make = getattr(self.cell, "get_initial_state", None)
        if make is None:  # Keras's default
            return self.from_states([tf.zeros((rows, n)) for n in state_sizes(self.cell)])
        return self.from_states(tf.nest.flatten(make(batch_size=rows)))

    def from_states(self, states):
        states = tuple(tf.cast(s, self.dtype) for s in states)
        if shapes := [s.shape for s in states if s.shape.rank != 2]:
            raise ValueError(
                f"The states of {self.cell!r} must be (batch, units). Received: {shapes}"
            )
        width, rows = output_size(self.cell), tf.shape(states[0])[0]
        output = tf.ensure_shape(tf.zeros((rows, width), self.dtype), (states[0].shape[0], width))
        masks = () if self.key is None else draw_masks(self.cell, rows, self.key, self.dtype)
        return (output, *states, *masks)

    def states(self, record):
        return tuple(record[1 : self.parts])

    def step(self, token, record):
        """The record after one more token, `(rows, features)`, or `(rows,)` characters."""
        features = token if self.embedding is None else self.embedding(token)
        states, masks = list(self.states(record)), record[self.parts :]
        if tf.nest.is_nested(self.cell.state_size):
            states = tf.nest.pack_sequence_as(self.cell.state_size, states)
        with use_masks(self.cell, masks) if masks else contextlib.nullcontext():
            output, states = self.cell(features, states, **self.options)
        # A cell made under another dtype policy returns what that one says.
        after = tuple(tf.cast(s, self.dtype) for s in (output, *tf.nest.flatten(states)))
        return (*after, *masks)

    def scan(self, inputs, record, lengths, cut=None, returns="states"):
        steps = inputs.shape[0] or tf.shape(inputs)[0]
        record, masks = record[: self.parts], record[self.parts :]
        kept = {"states": self.parts, "outputs": 1, "last": 0, "both": 1}[returns]
        # A list with no step written has no shape, so it is filled to its end.
        longest = steps if kept else tf.minimum(tf.reduce_max(lengths), steps)

        def body(t, record, arrays):
            state = tuple(cut_gradient(s, t, cut) for s in record) if cut else record
            valid = (t < lengths)[:, None]
            record = tuple(
                tf.where(valid, new, old)
                for new, old in zip(self.step(inputs[t], (*state, *masks)), record)
            )
            return t + 1, record, tuple(a.write(t, s) for a, s in zip(arrays, record))

        arrays = tuple(tf.TensorArray(s.dtype, steps, element_shape=s.shape) for s in record[:kept])
        _, record, arrays = tf.while_loop(
            lambda t, *_: t < longest, body, (0, record, arrays), maximum_iterations=steps
        )
        results = tuple(a.stack() for a in arrays)
        results += (*record, *masks) if returns in ("last", "both") else ()
        results = tuple(map(tf.stop_gradient, results)) if cut == 0 else results
        return results[0] if returns == "outputs" else results

    def collect(self, tokens, first, counts):
        inputs = self.inputs(tokens)

        def step(t, record):
            return self.step(inputs[t], record)

        steps, picked = tf.reduce_max(counts), forward.before_anchors(first, counts)
        _, picked = forward.collect_states(step, first, picked, counts, steps)
        return tuple(map(tf.stop_gradient, picked))

    def outputs_and_starts(self, inputs, record, lengths, size):
        """See the function of this name."""
        record, masks = record[: self.parts], record[self.parts :]
        steps = inputs.shape[0] or tf.shape(inputs)[0]

        def step(t, record):
            return self.step(inputs[t], (*record, *masks))[: self.parts]

        outputs, starts, last = forward.outputs_and_starts(
            step, record, lengths, size, steps, steps
        )
        return outputs, starts, (*last, *masks)


def takes_training(cell):
    """Whether the call of a cell, which need not be a layer, has an argument `training`."""
    return "training" in inspect.signature(getattr(cell, "call", cell)).parameters


def read(recurrence, tokens, record, lengths):
    """Reads on from a record, without gradient and without keeping any step.

    A plain loop for all cells, not compiled for given shapes: a new batch size or length needs no
    recompilation.

    Args:
        recurrence: `LSTMRecurrence` or `CellRecurrence`.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        record: tuple of `(rows, width)`.
        lengths: `(rows,)` int32, how many of the tokens each row reads.

    Returns:
        the record after `lengths` more tokens, tuple of `(rows, width)`.
    """
    inputs = time_major(tokens, recurrence.dtype)
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
        tuple of `(rows, anchors, width)`; what is in `first` alone is the same at every step.
    """
    row = tf.broadcast_to(tf.range(tf.shape(counts)[0])[:, None], tf.shape(counts))
    index = tf.stack([tf.maximum(counts - 1, 0), row], axis=-1)
    begun = counts[..., None] > 0
    picked = (tf.where(begun, tf.gather_nd(r, index), f[:, None]) for f, r in zip(first, records))
    return (*picked, *forward.before_anchors(first[len(records) :], counts))
