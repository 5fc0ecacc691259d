"""Whether an optimizer's epsilon damps the gradients of a recurrent kernel."""

import warnings

import keras
import numpy as np


def gradient_floor(optimizer):
    """The size of a gradient below which epsilon damps its step; None without an epsilon.

    RMSprop of Keras divides by `sqrt(v + epsilon)`, Adam by `sqrt(v) + epsilon`.
    """
    epsilon = getattr(optimizer, "epsilon", None)
    return epsilon**0.5 if isinstance(optimizer, keras.optimizers.RMSprop) else epsilon


def gradient_size(optimizer, weight):
    """Root mean square of a weight's last gradients, by the optimizer's own average.

    Returns:
        float; None if the optimizer keeps no mean square of the gradient, or has made no step.
    """
    slot = weight.path.replace("/", "_") + "_velocity"
    found = [v for v in optimizer.variables if v.path.endswith(slot)]
    decay = getattr(optimizer, "rho", getattr(optimizer, "beta_2", None))
    steps = float(optimizer.iterations.numpy())  # not `float` of a MirroredVariable
    if not found or decay is None or steps == 0:
        return None
    # The average starts at zero: without the correction it is too small after few steps.
    return float(np.sqrt(np.mean(found[0].numpy()) / (1 - decay**steps)))


def warn_if_damped(optimizer, weights):
    """Warns if the gradient of a recurrent kernel is below the optimizer's floor.

    Args:
        optimizer: Keras optimizer that has made steps.
        weights: the main RNN's weights.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # in half precision
    floor = gradient_floor(optimizer)
    for weight in weights:
        size = gradient_size(optimizer, weight) if weight.name == "recurrent_kernel" else None
        if floor and size is not None and 0 < size < floor:
            name, smaller = type(optimizer).__name__, 1e-3 * optimizer.epsilon
            warnings.warn(
                f"{name} damps the gradient of the recurrent kernel: its root mean square, "
                f"{size:.1e}, is below {floor:.1e}, where epsilon={optimizer.epsilon} takes over. "
                f"Give the optimizer a smaller one: keras.optimizers.{name}(epsilon={smaller:.0e})",
                stacklevel=3,
            )
