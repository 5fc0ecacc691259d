"""The weight of the auxiliary losses beside the supervised one (section 3.3)."""

import math

import tensorflow as tf

from aux_keras.arguments import check_real


class JointWeight:
    """A variable, so that callbacks can change it while compiled steps read it.

    Args:
        value: finite float >= 0. With 0 the losses are left out of the joint training until
            another is assigned.

    Attributes:
        trains: bool, whether they are in it. A weight that falls to 0 later leaves them in.
        variable: float32 `tf.Variable`.

    Raises:
        ValueError: on another value.
    """

    def __init__(self, value):
        self.trains = checked(value) > 0
        self.variable = tf.Variable(
            value, trainable=False, dtype=tf.float32,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )  # fmt: skip

    def assign(self, value):
        """Changes the weight; returns whether the losses come into the training by this."""
        begins = checked(value) > 0 and not self.trains
        self.trains = self.trains or begins
        self.variable.assign(value)
        return begins


def checked(value):
    """Returns a weight, or raises a `ValueError`."""
    return check_real(
        "auxiliary_weight", value, lambda v: 0 <= v < math.inf, "a finite number >= 0"
    )
