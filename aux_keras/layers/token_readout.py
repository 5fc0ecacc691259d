"""What predicts a token from an RNN's output: the FFN on top of every auxiliary network."""

from typing import Any

import keras
import tensorflow as tf

from aux_keras.arguments import check_readout
from aux_keras.layers.drop_connect import DropConnectDense, dense, drop_connect


def feed_forward(outputs, hidden_kernel, hidden_bias, kernel, bias):
    """The two-layer FFN of section 4.1, `relu(h V + v) W + w`; without V or W one layer alone.

    Args:
        outputs: `(rows, units)` or `(rows, time, units)`, h.
        hidden_kernel, hidden_bias: `(units, hidden)` and `(hidden,)`, V and v, or both None.
        kernel: `(hidden, features)`, or `(rows, hidden, features)` with DropConnect, W; or None.
        bias: `(features,)`, w, or None.

    Returns:
        `(rows, features)` or `(rows, time, features)`.
    """
    if hidden_kernel is not None:
        outputs = tf.nn.relu(dense(outputs, hidden_kernel, hidden_bias))
    return outputs if kernel is None else drop_connect(outputs, kernel, bias)


def without_last(weights):
    """Arguments of `feed_forward` after the first, for what its last layer would read."""
    return *weights[:2], None, None


@tf.function(jit_compile=True, autograph=False)
def feed_forward_over_time(outputs, *weights):
    """`feed_forward` of `(time, rows, units)`; returns `(rows, time, features)`."""
    return feed_forward(tf.transpose(outputs, (1, 0, 2)), *weights)


@keras.saving.register_keras_serializable("aux_keras")
class TokenReadout(keras.layers.Layer):
    """Predicts a token from every output of an RNN.

    A dense layer with ReLU, then a linear one with DropConnect. For real tokens the
    outputs are the predicted tokens, for characters the logits of their distribution.

    Args:
        features: int, width of a token, or number of characters.
        hidden_units: int, width of the first layer; None for the second layer alone.
        drop_rate: float in [0, 1), DropConnect rate of the second layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.

    Call arguments:
        outputs: `(batch, time, units)`.
        drop_mask: a result of `draw_mask`, or None to drop nothing.

    Returns:
        `(batch, time, features)`.

    Raises:
        ValueError: as `DropConnectDense`.

    Example:
        >>> TokenReadout(72, hidden_units=256, drop_rate=0.5)(np.ones((2, 300, 128))).shape
        TensorShape([2, 300, 72])

    Reference: Trinh et al. 2018, section 4.1.
    """

    def __init__(
        self, features: int, hidden_units: int | None, drop_rate: float, drop_per: str = "example",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        check_readout("hidden_units", hidden_units, drop_rate, drop_per)
        self.supports_masking = True
        self.features = features
        self.hidden_units = hidden_units
        self.drop_rate = drop_rate
        self.drop_per = drop_per
        policy = self.dtype_policy
        self.hidden = hidden_units and keras.layers.Dense(
            hidden_units, activation="relu", dtype=policy, name="hidden"
        )
        self.output_layer = DropConnectDense(
            features, drop_rate, drop_per, dtype=policy, name="output"
        )

    def build(self, outputs_shape):
        width = outputs_shape[-1]
        if self.hidden:
            self.hidden.build((None, width))
        self.output_layer.build((None, self.hidden_units or width))

    def draw_mask(self, rows, key):
        """DropConnect masks `(rows, hidden, features)`; `(rows, 0)` if nothing is dropped."""
        if not self.drop_rate:
            return tf.zeros((rows, 0))
        mask = self.output_layer.draw_mask(rows, key)
        return tf.broadcast_to(mask, (rows, *self.output_layer.kernel.shape))

    def weights_with(self, drop_mask=None):
        """Arguments of `feed_forward` after the first, in compute dtype."""
        dtype, hidden = self.compute_dtype, (None, None)
        if self.hidden:
            hidden = tuple(tf.cast(v, dtype) for v in (self.hidden.kernel, self.hidden.bias))
        kernel = self.output_layer.masked_kernel(drop_mask)
        return *hidden, kernel, tf.cast(self.output_layer.bias, dtype)

    def call(self, outputs: tf.Tensor, drop_mask: tf.Tensor | None = None) -> tf.Tensor:
        return feed_forward(outputs, *self.weights_with(drop_mask))

    def compute_output_shape(self, outputs_shape, drop_mask_shape=None):
        return (*outputs_shape[:-1], self.features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": self.features,
            "hidden_units": self.hidden_units,
            "drop_rate": self.drop_rate,
            "drop_per": self.drop_per,
        }
