"""Back-propagation that runs a part of the sequence again instead of keeping its steps.

What is run again must read its weights as arguments, so that their gradients have a way back:
`keras.StatelessScope` gives a layer's variables the values of these arguments.
"""

import contextlib

import keras
import tensorflow as tf

from aux_keras.scan.first_order import of_first_order
from aux_keras.scan.parts import at_least_one, most_steps, read_part, with_shapes_of
from aux_keras.scan.rows import map_rows


@contextlib.contextmanager
def weights_as(weights, values):
    """Layers read these values in place of their weights; what they assign would be lost."""
    with keras.StatelessScope(state_mapping=zip(weights, values)) as scope:
        before = dict(scope.state_mapping)
        yield
    if any(before.get(name) is not value for name, value in scope.state_mapping.items()):
        raise ValueError(
            "`rnn` must have a cell whose steps change no variables (moving averages, the seed of "
            "a Dropout layer): they are run again for the gradient. While training, "
            "`truncation=None` or `return_sequences=False` runs them once. "
            f"Received: a cell with the weights {[w.path for w in weights]}"
        )


def check_read(variables):
    """Raises if a cell has read other variables than its weights: these would not be trained."""
    if variables:
        raise ValueError(
            "`rnn` must have a cell that reads no variables but its own weights. "
            f"Received: {[v.name for v in variables]}"
        )


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
            with weights_as(weights, values):
                return function(*tf.nest.pack_sequence_as(tensors, parts))

        def gradient(*upstream, variables=()):
            check_read(variables)
            upstream = of_first_order(upstream, arguments)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(arguments)
                results = call(differentiable, *arguments)
            return tape.gradient(results, arguments, upstream, unconnected_gradients="zero")

        return call(forward, *map(tf.stop_gradient, arguments)), gradient

    return run(*real, *map(tf.convert_to_tensor, weights))


def run_in_chunks(make, weights, tokens, first, lengths, size, time):
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
        time: int or int scalar, steps of the outputs.

    Returns:
        `(outputs, *last)`: `(rows, time, units)`, undefined past a row's length, and the
        record after it, tensors `(rows, width)`.
    """
    chunks = Chunks(make, weights, lengths, size, time)
    parts = len(first)

    @tf.custom_gradient
    def run(*arguments):
        tokens, *rest = (tf.stop_gradient(a) for a in arguments)
        first, values = tuple(rest[:parts]), rest[parts:]
        outputs, last, starts = chunks.forward(tokens, first, values)

        def gradient(*upstream, variables=()):
            check_read(variables)
            doutputs, *dlast = of_first_order(upstream, arguments)
            dtokens, dfirst, dvalues = chunks.backward(
                tokens, first, starts, values, doutputs, dlast
            )
            return dtokens, *dfirst, *dvalues

        return (outputs, *last), gradient

    return run(tokens, *first, *map(tf.convert_to_tensor, weights))


class Chunks:
    """A sequence in chunks of `size` steps, see `run_in_chunks`; `time` is its length.

    A chunk that is longer than the sequence has as many `steps` as this.
    """

    def __init__(self, make, weights, lengths, size, time):
        self.make, self.weights, self.lengths = make, weights, lengths
        self.steps = most_steps(size, time)
        self.size = size = self.steps if isinstance(time, int) else size
        self.time, self.count = time, -(-time // size)
        if not isinstance(time, int):
            self.count = tf.maximum(self.count, 1)  # tokens have a step

    def read(self, sequence, i):
        """Chunk `i`, `(rows, steps, ...)`; past the end of the sequence its last step again."""
        return read_part(at_least_one(sequence, 1), i * self.size, self.steps, axis=1)

    def run(self, i, chunk, record, values):
        """Outputs of chunk `i` and the record after it, with these values of the weights."""

        def run_rows(chunk, record, lengths):
            recurrence = self.make()
            inputs = recurrence.inputs(chunk)
            outputs, *after = recurrence.scan(inputs, record, lengths, returns="both")
            return tf.transpose(outputs, (1, 0, 2)), *after

        rest = tf.clip_by_value(self.lengths - i * self.size, 0, self.size)
        with weights_as(self.weights, values):
            outputs, *after = map_rows(run_rows, chunk, record, rest)
        return outputs, with_shapes_of(record, tuple(after))

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

        with weights_as(self.weights, values):
            return map_rows(run_rows, tokens, first, self.lengths)

    def backward(self, tokens, first, starts, values, doutputs, dlast):
        """Gradients of the tokens (None of characters), the first record and the values."""
        real = tokens.dtype.is_floating

        def body(i, dvalues, dtokens, dfirst):
            del dfirst  # that of a later chunk, which starts from a constant
            chunk = self.read(tokens, i)
            record = (*(start[:, i] for start in starts), *first[len(starts) :])
            exists = (tf.range(self.steps) < self.time - i * self.size)[:, None]
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
            dtokens = dtokens.write(i, dchunk) if real else dtokens
            return i - 1, dvalues, dtokens, with_shapes_of(first, drecord)

        rows, _, *width = tokens.shape
        shape = (rows, self.steps if isinstance(self.steps, int) else None, *width)
        dtokens = tf.TensorArray(tokens.dtype, self.count, element_shape=shape)
        zeros = [tf.zeros_like(v) for v in values], tuple(map(tf.zeros_like, first))
        loop = (self.count - 1, zeros[0], dtokens, zeros[1])
        _, dvalues, dtokens, dfirst = tf.while_loop(lambda i, *_: i >= 0, body, loop)
        if not real:
            return None, dfirst, dvalues
        dtokens = tf.transpose(dtokens.stack(), (1, 0, 2, 3))  # (rows, count, steps, features)
        shape = [tf.shape(tokens)[0], self.count * self.steps, *width]
        return tf.reshape(dtokens, shape)[:, : tf.shape(tokens)[1]], dfirst, dvalues
