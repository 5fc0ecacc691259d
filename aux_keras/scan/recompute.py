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
    time, rows = inputs.shape[0] or tf.shape(inputs)[0], inputs.shape[1]
    count, width = -(-time // size), list(inputs.shape[2:])

    def split(steps, width):
        """Steps in chunks, `(chunks, size, rows, *width)`, zeros after the last."""
        steps = tf.pad(steps, [[0, count * size - time], [0, 0], *[[0, 0] for _ in width]])
        return tf.reshape(steps, [count, size, -1 if rows is None else rows, *width])

    def run_chunk(i, chunk, record, values):
        rest = tf.clip_by_value(lengths - i * size, 0, size)
        with keras.StatelessScope(state_mapping=zip(weights, values)):
            outputs, *after = make().scan(chunk, record, rest, returns="both")
        return outputs, tuple(tf.ensure_shape(a, r.shape) for a, r in zip(after, record))

    @tf.custom_gradient
    def run(inputs, *arguments):
        chunks = split(tf.stop_gradient(inputs), width)
        arguments = [tf.stop_gradient(a) for a in arguments]
        first, values = tuple(arguments[: len(parts)]), arguments[len(parts) :]

        def forward(i, record, starts, outputs):
            starts = [array.write(i, part) for array, part in zip(starts, record)]
            chunk, record = run_chunk(i, chunks[i], record, values)
            return i + 1, record, starts, outputs.write(i, chunk)

        def arrays(*shapes_and_types):
            return [tf.TensorArray(d, count, element_shape=s) for s, d in shapes_and_types]

        starts = arrays(*((part.shape, part.dtype) for part in first))
        (outputs,) = arrays(((size, *first[0].shape), first[0].dtype))
        loop = tf.while_loop(lambda i, *_: i < count, forward, (0, first, starts, outputs))
        last, starts = loop[1], [array.stack() for array in loop[2]]
        outputs = tf.reshape(loop[3].stack(), [-1, tf.shape(inputs)[1], first[0].shape[-1]])

        def gradient(doutputs, *dlast):
            doutputs = split(doutputs, [first[0].shape[-1]])
            real = inputs.dtype.is_floating

            def backward(i, dvalues, dinputs, dfirst):
                del dfirst  # that of a later chunk, whose start is a constant
                chunk, record = chunks[i], tuple(start[i] for start in starts)
                ends_here = tf.maximum(lengths - 1, 0) // size == i
                dafter = [tf.where(ends_here[:, None], d, tf.zeros_like(d)) for d in dlast]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch((chunk, record, values) if real else (record, values))
                    results = tf.nest.flatten(run_chunk(i, chunk, record, values))
                dchunk, drecord, more = tape.gradient(
                    results, (chunk, record, values), [doutputs[i], *dafter],
                    unconnected_gradients="zero",
                )  # fmt: skip
                dvalues = [d + m for d, m in zip(dvalues, more)]
                return i - 1, dvalues, dinputs.write(i, dchunk) if real else dinputs, drecord

            zeros = [tf.zeros_like(v) for v in values]
            (dinputs,) = arrays(((size, *inputs.shape[1:]), first[0].dtype))
            loop = (count - 1, zeros, dinputs, tuple(map(tf.zeros_like, first)))
            _, dvalues, dinputs, dfirst = tf.while_loop(lambda i, *_: i >= 0, backward, loop)
            if real:
                dinputs = tf.reshape(dinputs.stack(), [-1, *tf.unstack(tf.shape(inputs)[1:])])
            return dinputs[:time] if real else None, *dfirst, *dvalues

        return (outputs[:time], *last), gradient

    parts = tuple(first)
    return run(inputs, *parts, *map(tf.convert_to_tensor, weights))
