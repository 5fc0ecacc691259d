"""The weight of the auxiliary losses beside the supervised one (section 3.3)."""

import math
import numbers

import tensorflow as tf


class JointWeight:
    """A variable, so that callbacks can change it while compiled steps read it.

    Args:
        value: finite float >= 0. With 0 the losses are left out of the joint training for good.

    Attributes:
        trains: bool, whether they are in it.
        variable: float32 `tf.Variable`.

    Raises:
        ValueError: on another value.
    """

    def __init__(self, value):
        self.trains = self._checked(value) > 0
        self.variable = tf.Variable(
            value, trainable=False, dtype=tf.float32,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )  # fmt: skip

    def assign(self, value):
        """Changes the weight."""
        if self._checked(value) > 0 and not self.trains:
            raise ValueError(
                "`auxiliary_weight` must be given when the model is made: with 0 the losses are "
                f"left out of it. Received: auxiliary_weight={value}"
            )
        self.variable.assign(value)

    def _checked(self, value):
        if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
            raise ValueError(
                f"`auxiliary_weight` must be a finite number >= 0. "
                f"Received: auxiliary_weight={value!r}"
            )
        return value
