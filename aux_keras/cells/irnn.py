"""The cell of an iRNN (Le, Jaitly and Hinton 2015)."""

from typing import Any

import keras

from aux_keras.arguments import check_positive, check_real


@keras.saving.register_keras_serializable("aux_keras")
class IRNNCell(keras.layers.SimpleRNNCell):
    """A recurrent cell of rectified units that starts with the identity for its recurrence.

    `h_t = relu(x_t W + h_{t-1} U + b)`, at the start U = I, b = 0 and W normal. Until
    training moves U, the cell keeps its state for ever where the input is zero.

    Args:
        units: int, width of the state and output.
        stddev: float, standard deviation of W at the start.
        name, dtype, trainable: see `keras.layers.Layer`.

    Call arguments:
        sequence: one token of each, `(batch, features)`.
        states: h, a list of one `(batch, units)`.

    Returns:
        The output, `(batch, units)`, and the new states.

    Raises:
        ValueError: if `units` is not a positive integer, or `stddev` not positive.

    Example:
        >>> keras.layers.RNN(IRNNCell(100, stddev=0.001))(np.zeros((2, 784, 1))).shape
        TensorShape([2, 100])

    Reference: Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of
    rectified linear units".
    """

    def __init__(
        self, units: int, stddev: float, name: str | None = None, dtype: Any = None,
        trainable: bool = True,
    ) -> None:  # fmt: skip
        check_real("stddev", stddev, lambda v: v > 0, "positive")
        super().__init__(
            check_positive("units", units), activation="relu",
            kernel_initializer=keras.initializers.RandomNormal(stddev=stddev),
            recurrent_initializer="identity", name=name, dtype=dtype, trainable=trainable,
        )  # fmt: skip
        self.stddev = stddev

    def get_config(self) -> dict[str, Any]:
        base = keras.layers.Layer.get_config(self)
        return {**base, "units": self.units, "stddev": self.stddev}
