"""Back-propagation that runs a part of the sequence again instead of keeping its steps.

What is run again must read its weights as arguments, so that their gradients have a way back:
`keras.StatelessScope` gives a layer's variables the values of these arguments.
"""

import keras
import tensorflow as tf

from aux_keras.scan.rows import map_rows


def rerun_for_gradient(forward, differentiable, weights, tensors):
    """The values of one function, and the gradient of another that computes the same.

    Args:
        forward: function of `tensors` that keeps nothing.
        differentiable: function of `tensors` with the same results; run only if a gradient is
            asked for.
        weights: list of Keras variables that both read.
        tensors: nest of tensors.

    Returns:
        tuple of tensors, the results.
    """
    flat = tf.nest.flatten(tensors)
    # Integers (characters, lengths) are no arguments: they have no gradient.
    real = [t for t in flat if t.dtype.is_floating]

    @tf.custom_gradient
    def run(*arguments):
        def call(function, *arguments):
            given, values = iter(arguments[: len(real)]), arguments[len(real) :]
            parts = [next(given) if t.dtype.is_floating else t for t in flat]
            with keras.StatelessScope(state_mapping=zip(weights, values)):
                return function(*tf.nest.pack_sequence_as(tensors, parts))

        def gradient(*upstream):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(arguments)
                results = call(differentiable, *arguments)
            return tape.gradient(results, arguments, upstream, unconnected_gradients="zero")

        return call(forward, *map(tf.stop_gradient, arguments)), gradient

    return run(*real, *map(tf.convert_to_tensor, weights))


def run_in_chunks(make, weights, tokens, first, lengths, size):
    """Outputs of all steps; the state becomes a constant every `size` steps.

    The chunks between these steps are independent of each other: back-propagation runs one at
    a time again, from the state before it. Beside tokens and outputs it keeps one state for
    each chunk and the steps of one chunk. Chunks are read from `(rows, time, ...)` as it is,
    and only within a chunk is time put first, since a copy of all outputs costs as much as they.

    Args:
        make: function without arguments that returns the recurrence.
        weights: list of Keras variables that it reads.
        tokens: `(rows, time, features)`, or characters `(rows, time)`.
        first: record before the first step, tensors `(rows, width)`.
        lengths: `(rows,)` int32; rows rest afterwards.
        size: int, steps of a chunk.

    Returns:
        `(outputs, *last)`: `(rows, time, units)`, undefined past a row's length, and the
        record after it, tensors `(rows, width)`.
    """
    chunks = Chunks(make, weights, lengths, size, tokens.shape[1] or tf.shape(tokens)[1])
    parts = len(first)

    @tf.custom_gradient
    def run(tokens, *arguments):
        tokens, *arguments = (tf.stop_gradient(a) for a in (tokens, *arguments))
        first, values = tuple(arguments[:parts]), arguments[parts:]
        outputs, last, starts = chunks.forward(tokens, first, values)

        def gradient(doutputs, *dlast):
            dtokens, dfirst, dvalues = chunks.backward(
                tokens, first, starts, values, doutputs, dlast
            )
            return dtokens, *dfirst, *dvalues

        return (outputs, *last), gradient

    return run(tokens, *first, *map(tf.convert_to_tensor, weights))


class Chunks:
    """A sequence in chunks of `size` steps, see `run_in_chunks`; `time` is its length."""

    def __init__(self, make, weights, lengths, size, time):
        self.make, self.weights, self.lengths = make, weights, lengths
        if isinstance(time, int):  # nothing is cut where a chunk is longer than the sequence
            size = max(1, min(size, time))
        self.size, self.time, self.count = size, time, -(-time // size)

    def read(self, sequence, i):
        """Chunk `i`, `(rows, size, ...)`; past the end of the sequence its last step again."""
        steps = i * self.size + tf.range(self.size)
        return tf.gather(sequence, tf.minimum(steps, self.time - 1), axis=1)

    def run(self, i, chunk, record, values):
        """Outputs of chunk `i` and the record after it, with these values of the weights."""

        def run_rows(chunk, record, lengths):
            recurrence = self.make()
            scanned = recurrence.scan(recurrence.inputs(chunk), record, lengths, returns="both")
            return tf.transpose(scanned[0], (1, 0, 2)), *scanned[1:]

        rest = tf.clip_by_value(self.lengths - i * self.size, 0, self.size)
        with keras.StatelessScope(state_mapping=zip(self.weights, values)):
            outputs, *after = map_rows(run_rows, chunk, record, rest)
        return outputs, tuple(tf.ensure_shape(a, r.shape) for a, r in zip(after, record))

    def forward(self, tokens, first, values):
        """One run that keeps no steps.

        Returns:
            `(outputs, last, starts)`: `(rows, time, units)`; the record after the last step,
            `(rows, width)`; those before each chunk, `(rows, count, width)`.
        """

        def run_rows(tokens, first, lengths):
            recurrence = self.make()
            outputs, starts, last = recurrence.outputs_and_starts(
                recurrence.inputs(tokens), first, lengths, self.size
            )
            outputs = tf.transpose(outputs[: self.time], (1, 0, 2))
            return outputs, last, tuple(tf.transpose(s, (1, 0, 2)) for s in starts)

        with keras.StatelessScope(state_mapping=zip(self.weights, values)):
            return map_rows(run_rows, tokens, first, self.lengths)

    def backward(self, tokens, first, starts, values, doutputs, dlast):
        """Gradients of the tokens (None of characters), the first record and the values."""
        real = tokens.dtype.is_floating

        def body(i, dvalues, dtokens, dfirst):
            del dfirst  # that of a later chunk, which starts from a constant
            chunk = self.read(tokens, i)
            record = (*(start[:, i] for start in starts), *first[len(starts) :])
            exists = (tf.range(self.size) < self.time - i * self.size)[:, None]
            dchunk = tf.where(exists, self.read(doutputs, i), tf.zeros([], doutputs.dtype))
            ends_here = (tf.maximum(self.lengths - 1, 0) // self.size == i)[:, None]
            dafter = [tf.where(ends_here, d, tf.zeros_like(d)) for d in dlast]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((chunk, record, values) if real else (record, values))
                results = tf.nest.flatten(self.run(i, chunk, record, values))
            dchunk, drecord, more = tape.gradient(
                results, (chunk, record, values), [dchunk, *dafter], unconnected_gradients="zero"
            )
            dvalues = [d + m for d, m in zip(dvalues, more)]
            return i - 1, dvalues, dtokens.write(i, dchunk) if real else dtokens, drecord

        rows, _, *width = tokens.shape
        shape = (rows, self.size, *width)
        dtokens = tf.TensorArray(tokens.dtype, self.count, element_shape=shape)
        zeros = [tf.zeros_like(v) for v in values], tuple(map(tf.zeros_like, first))
        loop = (self.count - 1, zeros[0], dtokens, zeros[1])
        _, dvalues, dtokens, dfirst = tf.while_loop(lambda i, *_: i >= 0, body, loop)
        if not real:
            return None, dfirst, dvalues
        dtokens = tf.transpose(dtokens.stack(), (1, 0, 2, 3))  # (rows, count, size, features)
        shape = [tf.shape(tokens)[0], self.count * self.size, *width]
        return tf.reshape(dtokens, shape)[:, : self.time], dfirst, dvalues
