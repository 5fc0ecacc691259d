"""Back-propagation that runs a part of the sequence again instead of keeping its steps.

What is run again must read its weights as arguments, so that their gradients have a way back:
`keras.StatelessScope` gives a layer's variables the values of these arguments.
"""

import keras
import tensorflow as tf


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


def run_in_chunks(make, weights, inputs, first, lengths, size):
    """Outputs of all steps; the state becomes a constant every `size` steps.

    The chunks between these steps are independent of each other: back-propagation runs one at
    a time again, from the state before it. Beside inputs and outputs it keeps one state for
    each chunk and the steps of one chunk.

    Args:
        make: function without arguments that returns the recurrence.
        weights: list of Keras variables that it reads.
        inputs: `(time, rows, features)`, or characters `(time, rows)`.
        first: record before the first step, tensors `(rows, width)`.
        lengths: `(rows,)` int32; rows rest afterwards.
        size: int, steps of a chunk.

    Returns:
        `(outputs, *last)`: `(time, rows, units)`, undefined past a row's length, and the
        record after it, tensors `(rows, width)`.
    """
    chunks = Chunks(make, weights, lengths, size, inputs.shape[0] or tf.shape(inputs)[0])
    parts = len(first)

    @tf.custom_gradient
    def run(inputs, *arguments):
        inputs, *arguments = (tf.stop_gradient(a) for a in (inputs, *arguments))
        first, values = tuple(arguments[:parts]), arguments[parts:]
        split = chunks.split(inputs)
        outputs, last, starts = chunks.forward(split, first, values)

        def gradient(doutputs, *dlast):
            dinputs, dfirst, dvalues = chunks.backward(
                split, starts, values, chunks.split(doutputs), dlast
            )
            return None if dinputs is None else chunks.join(dinputs), *dfirst, *dvalues

        return (chunks.join(outputs), *last), gradient

    return run(inputs, *first, *map(tf.convert_to_tensor, weights))


class Chunks:
    """A sequence in chunks of `size` steps, see `run_in_chunks`; `time` is its length."""

    def __init__(self, make, weights, lengths, size, time):
        self.make, self.weights, self.lengths = make, weights, lengths
        self.size, self.time, self.count = size, time, -(-time // size)

    def split(self, steps):
        """`(time, rows, ...)` in chunks `(count, size, rows, ...)`, zeros after the last step."""
        rows, *width = steps.shape[1:]
        more = [[0, self.count * self.size - self.time], [0, 0], *([0, 0] for _ in width)]
        shape = [self.count, self.size, tf.shape(steps)[1] if rows is None else rows, *width]
        return tf.reshape(tf.pad(steps, more), shape)

    def join(self, chunks):
        """The opposite of `split`."""
        shape = tf.shape(chunks)
        return tf.reshape(chunks, tf.concat([shape[:1] * shape[1], shape[2:]], 0))[: self.time]

    def run(self, i, chunk, record, values):
        """Outputs of chunk `i` and the record after it, with these values of the weights."""
        rest = tf.clip_by_value(self.lengths - i * self.size, 0, self.size)
        with keras.StatelessScope(state_mapping=zip(self.weights, values)):
            outputs, *after = self.make().scan(chunk, record, rest, returns="both")
        return outputs, tuple(tf.ensure_shape(a, r.shape) for a, r in zip(after, record))

    def array(self, shape, dtype):
        return tf.TensorArray(dtype, self.count, element_shape=shape)

    def forward(self, chunks, first, values):
        """Outputs in chunks, the record after the last, and those before each."""

        def body(i, record, starts, outputs):
            starts = [array.write(i, part) for array, part in zip(starts, record)]
            chunk, record = self.run(i, chunks[i], record, values)
            return i + 1, record, starts, outputs.write(i, chunk)

        starts = [self.array(part.shape, part.dtype) for part in first]
        outputs = self.array((self.size, *first[0].shape), first[0].dtype)
        loop = (0, first, starts, outputs)
        _, last, starts, outputs = tf.while_loop(lambda i, *_: i < self.count, body, loop)
        return outputs.stack(), last, [array.stack() for array in starts]

    def backward(self, chunks, starts, values, doutputs, dlast):
        """Gradients of the chunks (None of characters), the first record and the values."""
        real = chunks.dtype.is_floating

        def body(i, dvalues, dchunks, dfirst):
            del dfirst  # that of a later chunk, which starts from a constant
            chunk, record = chunks[i], tuple(start[i] for start in starts)
            ends_here = (tf.maximum(self.lengths - 1, 0) // self.size == i)[:, None]
            dafter = [tf.where(ends_here, d, tf.zeros_like(d)) for d in dlast]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((chunk, record, values) if real else (record, values))
                results = tf.nest.flatten(self.run(i, chunk, record, values))
            dchunk, drecord, more = tape.gradient(
                results, (chunk, record, values), [doutputs[i], *dafter],
                unconnected_gradients="zero",
            )  # fmt: skip
            dvalues = [d + m for d, m in zip(dvalues, more)]
            return i - 1, dvalues, dchunks.write(i, dchunk) if real else dchunks, drecord

        dchunks = self.array(chunks.shape[1:], doutputs.dtype)
        zeros = [tf.zeros_like(v) for v in values], tuple(tf.zeros_like(s[0]) for s in starts)
        loop = (self.count - 1, zeros[0], dchunks, zeros[1])
        _, dvalues, dchunks, dfirst = tf.while_loop(lambda i, *_: i >= 0, body, loop)
        return dchunks.stack() if real else None, dfirst, dvalues
