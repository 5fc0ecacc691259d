"""Back-propagation through time of a stack of LSTMs, as a compiled loop.

TensorFlow differentiates a loop by keeping every intermediate of every step. The
LSTM needs its states and gates only, so its back-propagation through time is
written out, once, for all uses: windows, decoders, full back-propagation.
"""

from functools import partial

import tensorflow as tf

from aux_keras.scan import parts
from aux_keras.scan.first_order import of_first_order
from aux_keras.scan.lstm import (
    as_features,
    forward_in_parts,
    lstm_forward,
    residual_shapes,
    step_arguments,
)
from aux_keras.scan.rows import merge_anchors

PRODUCT_ROWS = 256  # rows of a matrix product beyond which more do not make it faster


def gate_slopes(gates):
    """Derivatives of the gates' activations: `g' = 1 - g^2` of tanh, `s (1 - s)` of the sigmoids.

    Args:
        gates: `(rows, 4 * units)`, i, f, g, o.

    Returns:
        `(rows, 4 * units)`.
    """
    units = gates.shape[-1] // 4
    column = tf.range(4 * units)
    is_tanh = tf.logical_and(column >= 2 * units, column < 3 * units)
    return tf.where(is_tanh, 1 - gates * gates, gates * (1 - gates))


def lstm_step_gradient(kernel, c, next_c, gates, dh, dc):
    """Gradients of one `lstm_step`: of its arguments, from those of its results.

    Args:
        kernel: `(4 * units, width)`, the first `width` rows of the step's, transposed:
            `units` for the gradient of `h` alone, `units + features` for that of `x` too.
        c: the step's last argument.
        next_c, gates: the step's second and third result.
        dh: `(rows, units)`, gradient of the step's `h`.
        dc: `(rows, units)`, gradient of the step's `c`.

    Returns:
        `(dz, dh, dx, dc)`: that of the matrix product, `(rows, 4 * units)`, and those of
        arguments, each of its shape; `dx` is `(rows, 0)` where the kernel has no rows for it.
    """
    i, f, g, o = tf.split(gates, 4, axis=-1)
    tanh_c = tf.tanh(next_c)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    # All gates at once: gate by gate, XLA would compute dc anew for each of them.
    dgates = tf.concat([dc, dc, dc, dh], -1) * tf.concat([g, c, i, tanh_c], -1)
    dz = dgates * gate_slopes(gates)
    dhx, units = dz @ kernel, c.shape[-1]
    return dz, dhx[:, :units], dhx[:, units:], dc * f


def lstm_kernel_gradient(x, h, dz):
    """Gradient of the kernel of `lstm_step`, summed over some steps, `[h, x, 1]^T dz`.

    Args:
        x, h: those steps' arguments, `(steps, rows, features)` and `(steps, rows, units)`.
        dz: gradients of their matrix products, `(steps, rows, 4 * units)`.

    Returns:
        `(units + features + 1, 4 * units)`.
    """
    return tf.tensordot(step_arguments(x, h), dz, [[0, 1], [0, 1]])


def stack_step_gradient(kernels, t, residuals, above, dstates, valid, passes):
    """Gradients of one step of every layer, top layer first.

    Args:
        kernels: per layer, see `lstm_step_gradient`.
        t: int scalar, the step.
        residuals: those of `lstm_forward`.
        above: gradients of the top layer's h and c from outside, `(rows, units)` or None.
        dstates: per layer, gradients of `(h, c)` from later steps, `(rows, units)`.
        valid: `(rows, 1)` bool; other rows rest and hand their gradients on.
        passes: bool scalar, whether the states before the step get a gradient.

    Returns:
        `(dx, dstates, dzs)`: gradient of the bottom layer's `x`; per layer those of `(h, c)`
        before the step, and of the matrix product.
    """
    dstates, dzs = list(dstates), []
    for layer in reversed(range(len(kernels))):
        _, cs, gates = residuals[layer]
        dh, dc = (d if a is None else d + a for d, a in zip(dstates[layer], above))
        zeros = tf.zeros_like(dh)
        dz, new_dh, dx, new_dc = lstm_step_gradient(
            kernels[layer], cs[t], cs[t + 1], gates[t],
            tf.where(valid, dh, zeros), tf.where(valid, dc, zeros),
        )  # fmt: skip
        dstates[layer] = tuple(
            tf.where(valid, tf.where(passes, new, zeros), old)
            for new, old in ((new_dh, dh), (new_dc, dc))
        )
        above = (dx, None)  # for the layer below
        dzs.insert(0, dz)
    return dx, dstates, dzs


def stack_kernel_gradients(kernels, inputs, residuals, first, dzs):
    """Gradient of every layer's kernel, summed over the steps from `first` on.

    Args:
        kernels, inputs: as in `lstm_forward`.
        residuals: its residuals.
        first: int scalar.
        dzs: per layer, see `lstm_kernel_gradient`.

    Returns:
        list of gradients, of the kernels' shapes.
    """
    steps, units = tf.shape(dzs[0])[0], dzs[0].shape[-1] // 4

    def slice_steps(sequence, first):  # XLA knows `steps` when it compiles, but not `first`
        sizes = tf.concat([[steps], tf.shape(sequence)[1:]], axis=0)
        return tf.slice(sequence, [first, *(0 for _ in sequence.shape[1:])], sizes)

    hs = [hs for hs, _, _ in residuals]
    xs = [as_features(slice_steps(inputs, first), kernels[0], units)]
    xs += [slice_steps(h, first + 1) for h in hs[:-1]]
    return [lstm_kernel_gradient(x, slice_steps(h, first), dz) for x, h, dz in zip(xs, hs, dzs)]


@tf.function(jit_compile=True, autograph=False)
def lstm_backward(
    kernels, inputs, lengths, cut, residuals, dsteps, dlast, through_inputs, begun=0
):  # fmt: skip
    """Back-propagation through time, from the gradients of the states to the arguments'.

    No gradient crosses the start of a step `t > 0` with `t % cut == 0`; resting rows take
    no step and pass it on. The kernels' gradients are summed over several steps at a time:
    one matrix product with `PRODUCT_ROWS` rows is faster than as many with few.

    Args:
        kernels, inputs, lengths: as in `lstm_forward`.
        cut: int scalar, at least 1.
        residuals: those of `lstm_forward`.
        dsteps: gradients of the top layer's h and c after each step, `(time, rows, units)`
            or None.
        dlast: per layer, gradients of `(h, c)` after the last step, `(rows, units)`.
        through_inputs: bool, whether to compute the gradient of the inputs.
        begun: int scalar, steps before the first one of these, of which `t` counts.

    Returns:
        Gradients `(dkernels, dinputs, dstates)` of the arguments of `lstm_forward`;
        `dinputs` is `(time, rows, 0)` unless `through_inputs`.
    """
    steps, rows, units = tf.shape(inputs)[0], inputs.shape[1], residuals[0][0].shape[-1]
    longest = tf.minimum(tf.reduce_max(lengths), steps)
    lowest = kernels[0][:-1] if through_inputs else kernels[0][:units]
    transposed = [tf.transpose(k) for k in (lowest, *(k[:-1] for k in kernels[1:]))]
    summed = tf.clip_by_value(PRODUCT_ROWS // tf.shape(inputs)[1], 1, steps)

    def step(t, first, dinputs, dstates, dzs):
        above = [d if d is None else d[t] for d in dsteps]
        valid, crossed = (t < lengths)[:, None], t + begun
        passes = tf.logical_or(crossed == 0, crossed % cut != 0)
        dx, dstates, dz = stack_step_gradient(
            transposed, t, residuals, above, dstates, valid, passes
        )
        dzs = [array.write(t - first, d) for array, d in zip(dzs, dz)]
        return t - 1, first, dinputs.write(t, dx), dstates, dzs

    def sum_steps(end, dkernels, dinputs, dstates):
        first = tf.maximum(end - summed, 0)
        dzs = [  # the last ones stay zero where fewer than `summed` steps are left
            tf.TensorArray(k.dtype, summed, element_shape=(rows, k.shape[1])) for k in kernels
        ]
        loop = (end - 1, first, dinputs, dstates, dzs)
        _, _, dinputs, dstates, dzs = tf.while_loop(lambda t, *_: t >= first, step, loop)
        dzs = [array.stack() for array in dzs]
        more = stack_kernel_gradients(kernels, inputs, residuals, first, dzs)
        return first, [d + m for d, m in zip(dkernels, more)], dinputs, dstates

    width = inputs.shape[-1] if through_inputs else 0
    dinputs = tf.TensorArray(kernels[0].dtype, steps, element_shape=(rows, width))
    loop = (longest, [tf.zeros_like(k) for k in kernels], dinputs, dlast)
    loop = tf.while_loop(lambda end, *_: end > 0, sum_steps, loop)
    return loop[1], loop[2].stack(), loop[3]


@tf.function(autograph=False)
def backward_in_parts(
    kernels, inputs, lengths, cut, residuals, dsteps, dlast, through_inputs, size
):  # fmt: skip
    """As `lstm_backward`, with the residuals of `forward_in_parts` in parts of `size` steps."""
    count, width = parts.count_parts(inputs, size), inputs.shape[-1] if through_inputs else 0

    def read(i):
        for kernel, (h, _), flows in zip(kernels, dlast, residuals):
            shapes = residual_shapes(kernel, h, size)
            arrays = [tf.TensorArray(h.dtype, flow=flow) for flow in flows]
            yield [tf.ensure_shape(array.read(i), s) for array, s in zip(arrays, shapes)]

    def run_part(i, dkernels, dinputs, dstates):
        start = i * size
        more, dpart, before = lstm_backward(
            kernels, parts.read_part(inputs, start, size), lengths - start, cut,
            list(read(i)), [d if d is None else parts.read_part(d, start, size) for d in dsteps],
            dstates, through_inputs, start,
        )  # fmt: skip
        dkernels = [d + m for d, m in zip(dkernels, more)]
        return i - 1, dkernels, dinputs.write(i, dpart), parts.with_shapes_of(dstates, before)

    dinputs = tf.TensorArray(kernels[0].dtype, count, element_shape=(size, inputs.shape[1], width))
    loop = (count - 1, [tf.zeros_like(k) for k in kernels], dinputs, dlast)
    loop = tf.while_loop(lambda i, *_: i >= 0, run_part, loop)
    return loop[1], merge_anchors(loop[2].stack())[: tf.shape(inputs)[0]], loop[3]


def run(kernels, inputs, states, lengths, residuals=None):
    """A forward run, in parts if the number of steps is not known beforehand, and its backward.

    Args:
        residuals: those of `lstm_forward` if they are known already.

    Returns:
        `(residuals, last, after, backward)`: `after(0)` is the top layer's h after each step,
        `(time, rows, units)`, and `after(1)` its c.
    """
    if residuals is None and inputs.shape[0] is None:
        kept, last, after = forward_in_parts(kernels, inputs, states, lengths, parts.PART)
        return kept, last, lambda k: after[k], partial(backward_in_parts, size=parts.PART)
    kept, last = (residuals, None) if residuals else lstm_forward(kernels, inputs, states, lengths)
    return kept, last, lambda k: kept[-1][k][1:], lstm_backward


def lstm_scan(
    kernels, inputs, states, lengths, cut=None, returns="states", residuals=None,
    through_inputs=True,
):  # fmt: skip
    """Runs a stack of LSTMs over time; differentiable, the gradient cut every `cut` steps.

    Args:
        kernels: list of `(units + features + 1, 4 * units)`, bottom first, see `lstm_step`.
        inputs: `(time, rows, features)`.
        states: per layer `(h, c)`, each `(rows, units)`.
        lengths: `(rows,)` int32, steps after which a row rests.
        cut: the states become constants at the start of every `cut`-th step after the
            first. None: never. 0: the results are constants.
        returns: `"states"`, `"outputs"`, `"last"` or `"both"`, see below.
        residuals: those of `lstm_forward` if they are known already; not with `"last"`, `"both"`.
        through_inputs: bool, whether gradient passes on to the inputs, if they are real.

    Returns:
        Of the top layer: `(h, c)` after each step, `(time, rows, units)`, undefined past a
        row's length; or h alone of these; or `(h, c)` after the last step, `(rows, units)`; or
        `(h of each step, h, c)`.
    """
    layers, every = len(kernels), tf.constant(cut) if cut else tf.shape(inputs)[0] + 1
    through_inputs = through_inputs and inputs.dtype.is_floating

    @tf.custom_gradient
    def scan(*arguments):
        # Constants: an eager tape would otherwise differentiate the compiled loop too.
        inputs, *flat = map(tf.stop_gradient, arguments)
        kernels, states = flat[:layers], list(zip(flat[layers::2], flat[layers + 1 :: 2]))
        kept, last, after, backward = run(kernels, inputs, states, lengths, residuals)

        def gradient(*upstream):
            dresults = tuple(map(tf.stop_gradient, upstream))
            dsteps, dlast = (None, None), tf.nest.map_structure(tf.zeros_like, states)
            if returns in ("last", "both"):
                dlast[-1] = dresults[-2:]
            if returns != "last":
                dsteps = dresults[:2] if returns == "states" else (dresults[0], None)
            dkernels, dinputs, dstates = backward(
                kernels, inputs, lengths, every, kept, dsteps, dlast, through_inputs
            )
            dinputs = dinputs if through_inputs else None
            found = [dinputs, *dkernels, *tf.nest.flatten(dstates)]
            return of_first_order(found, [*arguments, *upstream])

        results = {
            "states": lambda: (after(0), after(1)), "outputs": lambda: after(0),
            "last": lambda: last[-1], "both": lambda: (after(0), *last[-1]),
        }  # fmt: skip
        return results[returns](), gradient

    results = scan(inputs, *kernels, *tf.nest.flatten(states))
    return tf.nest.map_structure(tf.stop_gradient, results) if cut == 0 else results
