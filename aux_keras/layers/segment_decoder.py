"""The decoder of sections 3.1 and 4.1, with scheduled sampling (section 3.3)."""

import keras
import tensorflow as tf

from aux_keras.layers import lstm_scan, recurrence
from aux_keras.layers.drop_connect import DropConnectDense, drop_connect
from aux_keras.layers.truncated_rnn import check_truncation


def feed_forward(outputs, hidden_kernel, hidden_bias, kernel, bias):
    """The two-layer FFN on top of a decoder: `relu(h V + v) W + w`, at every step.

    Args:
        outputs: `(rows, units)` or `(rows, time, units)`, h.
        hidden_kernel, hidden_bias: `(units, hidden)` and `(hidden,)`.
        kernel: `(hidden, features)`, or `(rows, hidden, features)` with DropConnect.
        bias: `(features,)`.

    Returns:
        `(rows, features)` or `(rows, time, features)`.
    """
    hidden = tf.nn.relu(tf.tensordot(outputs, hidden_kernel, 1) + hidden_bias)
    return drop_connect(hidden, kernel, bias)


def teacher_probability(step, decay_steps):
    """Epsilon of scheduled sampling: falls linearly from 1 to 0 (sections 3.3, 4.1).

    Args:
        step: int scalar, training steps done, over all phases.
        decay_steps: int, steps until 0.

    Returns:
        float32 scalar in [0, 1], the probability of feeding the true token.
    """
    return tf.maximum(0.0, 1.0 - tf.cast(step, tf.float32) / decay_steps)


@tf.function(jit_compile=True)
def feed_forward_over_time(outputs, *head):
    """`feed_forward` of `(time, rows, units)`; returns `(rows, time, features)`."""
    return feed_forward(tf.transpose(outputs, (1, 0, 2)), *head)


@tf.function(jit_compile=True)
def sample_lstm_decoder(kernels, head, tokens, feed, states):
    """Runs a decoder of plain LSTMs forward on its own outputs, where `feed` is False.

    Args:
        kernels: one kernel per layer, see `lstm_scan.lstm_step`.
        head: arguments of `feed_forward` after the first.
        tokens: `(time, rows, features)`, the true tokens.
        feed: `(time, rows)` bool, whether to feed the true token.
        states: one `(h, c)` per layer.

    Returns:
        tokens as they were fed, `(time, rows, features)`, and for each layer what
        `lstm_scan.lstm_forward` would return.
    """
    steps = tf.shape(tokens)[0]

    def body(t, output, states, fed, arrays):
        token = tf.where(feed[t][:, None], tokens[t], output)
        states, arrays = lstm_scan.stack_step(kernels, t, token, states, arrays)
        return t + 1, feed_forward(states[-1][0], *head), states, fed.write(t, token), arrays

    fed = tf.TensorArray(tokens.dtype, steps, element_shape=tokens.shape[1:])
    arrays = lstm_scan.stack_arrays(kernels, states, steps)
    loop = (0, tf.zeros_like(tokens[0]), states, fed, arrays)
    loop = tf.while_loop(lambda t, *_: t < steps, body, loop, maximum_iterations=steps)
    return loop[3].stack(), [tuple(a.stack() for a in layer) for layer in loop[4]]


@keras.saving.register_keras_serializable("aux_keras")
class SegmentDecoder(keras.layers.Layer):
    """Predicts a segment token by token from the state that the main RNN left.

    A stack of recurrent cells: the bottom one starts from the given state, the others
    from zero. A two-layer FFN with DropConnect on the second layer makes a token of
    every output. The first input is the true first token; each later one is the true
    token where `feed` says so and the decoder's own output of the step before
    elsewhere (scheduled sampling), as a constant unless `feedback_gradient` is set.
    The state becomes a constant every `truncation` steps.

    Args:
        cells: list of Keras RNN cells, bottom first. If the bottom one's state is not of
            the main RNN's width, a learned projection is put between.
        hidden_units: int, width of the FFN's first layer.
        drop_rate: float, DropConnect rate of the FFN's second layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        truncation: int steps; None for no cut, 0 to train the FFN alone.
        feedback_gradient: bool, whether gradient passes through a fed-back output.

    Call arguments:
        segments: `(rows, l + 1, features)`: the first l tokens are fed, the last l are
            what a perfect decoder returns.
        states: the main RNN's states at the anchors, a list of `(rows, width)`.
        feed: `(rows, l)` bool, whether the true token is fed; None for always.
        drop_mask: DropConnect mask of `readout.draw_mask(rows, key)`, or None.
        embedding: `TokenEmbedding` through which tokens are read, or None.

    Returns:
        `(rows, l, features)`, the predicted tokens.

    Raises:
        ValueError: if `cells` is empty, or the bottom cell has another number of states
            than the main RNN.
    """

    def __init__(
        self, cells, hidden_units, drop_rate, truncation, drop_per="example",
        feedback_gradient=False, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if not cells:
            raise ValueError(f"`cells` must hold at least one RNN cell. Received: {cells=}")
        self.cells = list(cells)
        self.hidden_units = hidden_units
        self.drop_rate = drop_rate
        self.drop_per = drop_per
        self.truncation = check_truncation("truncation", truncation)
        self.feedback_gradient = feedback_gradient
        self.hidden = keras.layers.Dense(
            hidden_units, activation="relu", dtype=self.dtype_policy, name="hidden"
        )
        self.projections = []

    def build(self, segments_shape, states_shape, embedding_shape=None):
        """Builds for tokens embedded to `embedding_shape[-1]` features, by default not
        embedded, and for the given states, or the zero state if `states_shape` is None."""
        features = segments_shape[-1]
        self.readout = DropConnectDense(
            features, self.drop_rate, per=self.drop_per, dtype=self.dtype_policy, name="readout"
        )
        below = features if embedding_shape is None else embedding_shape[-1]
        for cell in self.cells:
            if not cell.built:  # one that was loaded is
                cell.build((None, below))
            below = cell.output_size
        if states_shape is not None:
            self._build_projections([shape[-1] for shape in states_shape])
        self.hidden.build((None, below))
        self.readout.build((None, self.hidden_units))
        self.built = True

    def _build_projections(self, given):
        wanted = tf.nest.flatten(self.cells[0].state_size)
        if len(wanted) != len(given):
            raise ValueError(
                "`cells[0]` must have as many states as the main RNN. Received: "
                f"cells[0].state_size={wanted}, states of the main RNN: {given}"
            )
        if wanted != given:
            self.projections = [
                keras.layers.Dense(units, dtype=self.dtype_policy, name=f"state_{i}")
                for i, units in enumerate(wanted)
            ]
            for layer, units in zip(self.projections, given):
                layer.build((None, units))

    def call(self, segments, states, feed=None, drop_mask=None, embedding=None):
        tokens = tf.transpose(tf.cast(segments, self.compute_dtype), (1, 0, 2))[:-1]
        stack = self._recurrences(embedding)
        if self.projections:
            states = [layer(s) for layer, s in zip(self.projections, states)]
        records = [stack[0].from_states(states)]
        records += [above.zeros(tf.shape(tokens)[1]) for above in stack[1:]]
        if feed is not None:
            first = tf.ones_like(feed[:, :1])
            feed = tf.transpose(tf.concat([first, feed[:, 1:]], axis=1))
        compiled = self._compiled(stack) and not self.feedback_gradient
        predict = self._predict if feed is None or compiled else self._predict_step_by_step
        return predict(stack, records, tokens, feed, drop_mask)

    def read(self, inputs, drop_mask=None):
        """Reads inputs from the zero state on and predicts a token at every step.

        Args:
            inputs: `(time, rows, units)`, time-major.
            drop_mask: as in the call.

        Returns:
            `(rows, time, features)`.
        """
        stack = self._recurrences(None)
        records = [cell.zeros(tf.shape(inputs)[1]) for cell in stack]
        return self._predict(stack, records, inputs, None, drop_mask)

    def _recurrences(self, embedding):
        return [
            recurrence.make_recurrence(cell, embedding if i == 0 else None, self.compute_dtype)
            for i, cell in enumerate(self.cells)
        ]

    @staticmethod
    def _compiled(stack):
        return all(isinstance(r, recurrence.LSTMRecurrence) for r in stack)

    def head(self, drop_mask):
        """Arguments of `feed_forward` after the first."""
        dtype = self.compute_dtype
        hidden = [tf.cast(v, dtype) for v in (self.hidden.kernel, self.hidden.bias)]
        return (*hidden, self.readout.masked_kernel(drop_mask), tf.cast(self.readout.bias, dtype))

    def _predict(self, stack, records, tokens, feed, drop_mask):
        """What is fed is known, or sampled first; then the stack runs over all steps.

        A fed-back output is a constant, so the forward run that samples fixes the inputs.
        """
        head, residuals = self.head(drop_mask), None
        lengths = tf.fill([tf.shape(tokens)[1]], tf.shape(tokens)[0])
        if self._compiled(stack):
            kernels = [r.kernel for r in stack]
            if feed is not None:
                stop = (kernels, head, tokens, feed, records)
                tokens, residuals = sample_lstm_decoder(
                    *tf.nest.map_structure(tf.stop_gradient, stop)
                )
            outputs = lstm_scan.lstm_scan(
                kernels, tokens, records, lengths, self.truncation, "outputs", residuals,
                through_inputs=feed is None,
            )  # fmt: skip
        else:
            outputs = tokens
            for layer, record in zip(stack, records):
                outputs = layer.scan(outputs, record, lengths, self.truncation, "outputs")
        return feed_forward_over_time(outputs, *head)

    def _predict_step_by_step(self, stack, records, tokens, feed, drop_mask):
        """Any cells, and gradient through the fed-back output: one differentiated loop."""
        head, cut = self.head(drop_mask), self.truncation
        steps = tokens.shape[0] or tf.shape(tokens)[0]
        constant = tf.identity if self.feedback_gradient else tf.stop_gradient

        def body(t, output, records, outputs):
            if cut:
                output, records = tf.nest.map_structure(
                    lambda s: recurrence.cut_gradient(s, t, cut), (output, records)
                )
            below, after = tf.where(feed[t][:, None], tokens[t], constant(output)), []
            for cell, record in zip(stack, records):
                after.append(cell.step(below, record))
                below = tf.stop_gradient(after[-1][0]) if cut == 0 else after[-1][0]
            output = feed_forward(below, *head)
            if cut == 0:
                after = tf.nest.map_structure(tf.stop_gradient, after)
            return t + 1, output, after, outputs.write(t, output)

        outputs = tf.TensorArray(tokens.dtype, steps, element_shape=tokens.shape[1:])
        loop = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (0, tf.zeros_like(tokens[0]), records, outputs),
            maximum_iterations=steps,
        )
        return tf.transpose(loop[3].stack(), (1, 0, 2))

    def get_config(self):
        return {
            **super().get_config(),
            "cells": [keras.saving.serialize_keras_object(cell) for cell in self.cells],
            "hidden_units": self.hidden_units,
            "drop_rate": self.drop_rate,
            "truncation": self.truncation,
            "drop_per": self.drop_per,
            "feedback_gradient": self.feedback_gradient,
        }

    @classmethod
    def from_config(cls, config):
        config["cells"] = [keras.saving.deserialize_keras_object(c) for c in config["cells"]]
        return cls(**config)
