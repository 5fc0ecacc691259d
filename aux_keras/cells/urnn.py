"""The cell of a uRNN (Arjovsky, Shah and Bengio 2016)."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aux_keras.arguments import check_integer, check_positive


def reflect(z, v):
    """The Householder reflection `R z = z - 2 v (v* z) / ||v||^2` of each row.

    Args:
        z: `(rows, units)` complex.
        v: `(units,)` complex.

    Returns:
        `(rows, units)` complex.
    """
    projection = tf.linalg.matvec(z, tf.math.conj(v))[:, None]
    return z - 2 * projection * v / tf.reduce_sum(v * tf.math.conj(v))


def unitary(z, phases, reflections, permutation):
    """`W z = D3 R2 F^-1 D2 P R1 F D1 z` of each row, with W W* = I.

    Args:
        z: `(rows, units)` complex.
        phases: `(3, units)` real; D_k is diagonal with entries exp(i phase).
        reflections: `(2, units)` complex, the vectors of R1 and R2.
        permutation: `(units,)` int, P: entry i of the result is entry `permutation[i]`.

    Returns:
        `(rows, units)` complex.
    """
    d1, d2, d3 = tf.unstack(tf.exp(tf.complex(tf.zeros_like(phases), phases)))
    z = reflect(tf.signal.fft(d1 * z), reflections[0])
    z = reflect(tf.signal.ifft(d2 * tf.gather(z, permutation, axis=1)), reflections[1])
    return d3 * z


def mod_relu(z, b):
    """`z max(|z| + b, 0) / (|z| + 1e-5)`: shrinks or stretches z, and keeps its phase.

    Args:
        z: `(rows, units)` complex.
        b: `(units,)` real.

    Returns:
        `(rows, units)` complex.
    """
    modulus = tf.abs(z)
    scale = tf.maximum(modulus + b, 0) / (modulus + 1e-5)
    return z * tf.complex(scale, tf.zeros_like(scale))


@keras.saving.register_keras_serializable("aux_keras")
class URNNCell(keras.layers.Layer):
    """A recurrent cell with a complex state and a unitary recurrence.

    `h_t = modReLU(W h_{t-1} + V x_t)`, with W a product of unitary factors that has
    7 `units` weights and costs `units log units`. W is unitary whatever its weights are, so it
    neither shrinks nor stretches the state. The initial state is trained. States and
    outputs are real, `[Re h, Im h]`. Weights and arithmetic are float32 under every dtype policy;
    between steps the state has the policy's compute dtype.

    Args:
        units: int, N, number of complex units.
        seed: int, of the fixed permutation P.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[Re h, Im h]`, a list of one `(batch, 2 * units)`.

    Returns:
        The output, `(batch, 2 * units)`, and the new states.

    Raises:
        ValueError: if `units` is not a positive integer, or `seed` no integer of at least 0.

    Example:
        >>> keras.layers.RNN(URNNCell(512))(np.zeros((2, 784, 1))).shape
        TensorShape([2, 1024])

    Reference: Arjovsky, Shah and Bengio 2016, "Unitary evolution recurrent neural networks".
    """

    def __init__(self, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.units = check_positive("units", units)
        self.seed = check_integer("seed", seed, 0)
        self.permutation = np.random.RandomState(seed).permutation(units)
        self.state_size = self.output_size = 2 * units

    def build(self, inputs_shape, states_shape=None):
        units, uniform = self.units, keras.initializers.RandomUniform

        def add(name, shape, initializer):  # autocast would make weights that no complex number has
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False
            )

        self.kernel = add("kernel", (inputs_shape[-1], 2 * units), "glorot_uniform")
        self.phases = add("phases", (3, units), uniform(-math.pi, math.pi))
        self.reflections = add("reflections", (2, 2 * units), "glorot_uniform")
        self.bias = add("bias", (units,), uniform(-0.01, 0.01))
        bound = math.sqrt(3 / (2 * units))  # a state of norm 1, on average
        self.initial_state = add("initial_state", (2 * units,), uniform(-bound, bound))

    def get_initial_state(self, batch_size=None):
        """The trained state before the first token, `(batch, 2 * units)`."""
        state = tf.cast(self.initial_state, self.compute_dtype)
        return tf.broadcast_to(state, (batch_size, 2 * self.units))

    def call(
        self, inputs: tf.Tensor, states: Any, training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        inputs, state = (tf.cast(t, tf.float32) for t in (inputs, states[0]))
        reflections = as_complex(tf.convert_to_tensor(self.reflections))
        z = unitary(as_complex(state), self.phases, reflections, self.permutation)
        h = mod_relu(z + as_complex(inputs @ self.kernel), self.bias)
        state = tf.cast(tf.concat([tf.math.real(h), tf.math.imag(h)], axis=1), self.compute_dtype)
        return state, [state]

    def compute_output_shape(self, inputs_shape, states_shape=None):
        shape = (inputs_shape[0], 2 * self.units)
        return shape, [shape]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "seed": self.seed}


def as_complex(parts):
    """`[Re z, Im z]`, `(rows, 2 * units)`, to z, `(rows, units)` complex."""
    return tf.complex(*tf.split(parts, 2, axis=1))
