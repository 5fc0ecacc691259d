"""DropConnect (Wan et al. 2013), on the second layer of the paper's FFNs."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import PER, check_choice, check_positive, check_rate


def dense(inputs, kernel, bias):
    """`x K + bias`; x may have any leading axes."""
    # XLA may not know the shapes that `tensordot` needs of a matrix inside a loop.
    product = inputs @ kernel if inputs.shape.rank == 2 else tf.tensordot(inputs, kernel, 1)
    return product + bias


def drop_connect(inputs, kernel, bias):
    """`y_b = x_b K_b + bias`, with one kernel for all rows or one for each.

    Args:
        inputs: `(rows, features)` or `(rows, time, features)`.
        kernel: `(features, units)`, or `(rows, features, units)`.
        bias: `(units,)`.

    Returns:
        `(rows, units)` or `(rows, time, units)`.
    """
    if kernel.shape.rank == 2:
        return dense(inputs, kernel, bias)
    if inputs.shape.rank == 3:
        return inputs @ kernel + bias
    return tf.einsum("bi,bij->bj", inputs, kernel) + bias


@keras.saving.register_keras_serializable("aux_keras")
class DropConnectDense(keras.layers.Layer):
    """A linear dense layer that drops weights in training.

    Training multiplies the kernel by a Bernoulli mask and by `1 / (1 - rate)`; the
    bias is kept. Inference uses the plain kernel, which is the exact mean of a linear
    layer. With three-dimensional inputs a mask is shared over time.

    Args:
        units: int, width of the output.
        rate: float in [0, 1), probability of dropping a weight.
        per: `"example"`, a mask for each row of the batch; or `"batch"`, one for all.
        kernel_initializer: Keras initializer.
        seed: int, seed of the masks drawn when `drop_mask` is not given.

    Call arguments:
        inputs: `(batch, features)` or `(batch, time, features)`.
        training: bool; whether to drop.
        drop_mask: a result of `draw_mask`; by default a new one in training.

    Returns:
        `(batch, units)` or `(batch, time, units)`.

    Raises:
        ValueError: on `units` that are no positive integer, a `rate` outside [0, 1) or an
            unknown `per`.

    Example:
        >>> DropConnectDense(10, rate=0.5)(np.ones((2, 256)), training=True).shape
        TensorShape([2, 10])

    Reference: Wan et al. 2013, "Regularization of neural networks using DropConnect".
    """

    def __init__(
        self, units: int, rate: float, per: str = "example",
        kernel_initializer: Any = "glorot_uniform", seed: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = check_positive("units", units)
        self.rate = check_rate("rate", rate)
        self.per = check_choice("per", per, PER)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(inputs_shape[-1], self.units), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def draw_mask(self, rows, key):
        """Mask with inverted scaling: entries are 0 or `1 / (1 - rate)`.

        Args:
            rows: int scalar, number of rows of the batch.
            key: `(2,)` int32, see `randomness`.

        Returns:
            `(rows, features, units)`; or `(features, units)` with `per="batch"`.
        """
        shape = tuple(self.kernel.shape)
        if self.per == "example":
            shape = (rows, *shape)
        kept = randomness.uniform(key, shape, by_row=self.per == "example") >= self.rate
        return tf.cast(kept, self.compute_dtype) / (1 - self.rate)

    def masked_kernel(self, drop_mask=None):
        """The kernel in compute dtype, times the mask if there is one."""
        kernel = tf.cast(self.kernel, self.compute_dtype)
        return kernel if drop_mask is None else kernel * drop_mask

    def call(
        self, inputs: tf.Tensor, training: bool = False, drop_mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if training and drop_mask is None and self.rate:
            key = randomness.next_key(self.seed_generator)
            drop_mask = self.draw_mask(tf.shape(inputs)[0], key)
        bias = tf.cast(self.bias, self.compute_dtype)
        return drop_connect(inputs, self.masked_kernel(drop_mask), bias)

    def compute_output_shape(self, inputs_shape, drop_mask_shape=None):
        return (*inputs_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "rate": self.rate,
            "per": self.per,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "seed": self.seed,
        }
