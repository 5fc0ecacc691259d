"""The decoder of sections 3.1 and 4.1, with scheduled sampling (section 3.3)."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from aux_keras.arguments import (
    check_choice,
    check_readout,
    check_truncation,
    is_cell,
    output_size,
    revive,
    state_sizes,
    unbuilt,
)
from aux_keras.layers.token_readout import (
    TokenReadout,
    feed_forward,
    feed_forward_over_time,
    without_last,
)
from aux_keras.losses.scheduled_sampling import FEEDBACKS, choose, own_token
from aux_keras.scan import lstm, recurrence
from aux_keras.scan.lstm_gradient import lstm_scan


@tf.function(jit_compile=True, autograph=False)
def sample_lstm_decoder(kernels, table, readout, tokens, feed, uniform, states, feedback):
    """Runs a decoder of plain LSTMs forward on its own outputs, where `feed` is False.

    Args:
        kernels: one kernel per layer, see `lstm.lstm_step`.
        table: see `recurrence.LSTMRecurrence`, or None.
        readout: arguments of `feed_forward` after the first.
        tokens: `(time, rows, features)`, the true tokens; or `(time, rows)` characters.
        feed: `(time, rows)` bool, whether to feed the true token.
        uniform: `(time, rows)` draws for characters, None for real tokens.
        states: one `(h, c)` per layer.
        feedback: see `scheduled_sampling.own_token`.

    Returns:
        tokens as they were fed, of the shape of `tokens`, and for each layer what
        `lstm.lstm_forward` would keep.
    """
    steps, units = tf.shape(tokens)[0], states[0][0].shape[-1]

    def body(t, own, states, fed, arrays):
        token = choose(feed[t], tokens[t], own)
        embedded = token if table is None else tf.gather(table, token)
        x = lstm.as_features(embedded, kernels[0], units)
        states, arrays = lstm.stack_step(kernels, t, x, states, arrays)
        prediction = feed_forward(states[-1][0], *readout)
        own = own_token(prediction, uniform if uniform is None else uniform[t], feedback)
        return t + 1, own, states, fed.write(t, token), arrays

    fed = tf.TensorArray(tokens.dtype, steps, element_shape=tokens.shape[1:])
    arrays = lstm.stack_arrays(kernels, states, steps)
    loop = (0, tf.zeros_like(tokens[0]), states, fed, arrays)
    loop = tf.while_loop(lambda t, *_: t < steps, body, loop, maximum_iterations=steps)
    return loop[3].stack(), [tuple(a.stack() for a in layer) for layer in loop[4]]


@keras.saving.register_keras_serializable("aux_keras")
class SegmentDecoder(keras.layers.Layer):
    """Predicts a segment token by token from the state that the main RNN left.

    A stack of recurrent cells: the bottom one starts from the given state, the others
    from zero. A `TokenReadout` makes a token of every output. The first input is the true
    first token; each later one is the true token where `feed` says so and the decoder's
    own output of the step before elsewhere (scheduled sampling), as a constant unless
    `feedback_gradient` is set. The state becomes a constant every `truncation` steps.

    Args:
        cells: list of Keras RNN cells, bottom first. If the bottom one's state is not of
            the main RNN's width, a learned projection is put between. None if `copy_cells`
            will make them.
        hidden_units: int, width of the readout's first layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the readout's last layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        truncation: int steps; None for no cut, 0 to train the readout alone.
        feedback: `"sample"` or `"argmax"`, the character that is fed back, drawn from the
            predicted distribution or its most probable one; real tokens are fed back as
            they are predicted.
        feedback_gradient: bool, whether gradient passes through a fed-back real token.

    Call arguments:
        segments: `(rows, l + 1, features)`, or characters `(rows, l + 1)`: the first l
            tokens are fed, the last l are what a perfect decoder returns.
        states: the main RNN's states at the anchors, a list of `(rows, width)`.
        feed: `(rows, l)` bool, whether the true token is fed; None for always.
        uniform: `(rows, l)` draws from [0, 1) for characters that are fed back.
        drop_mask: DropConnect mask of `readout.draw_mask(rows, key)`, or None.
        embedding: `TokenEmbedding` through which tokens are read, or None.
        feedback: as the argument of that name, for this call alone.
        hidden: bool, whether to return what the readout's last layer reads.

    Returns:
        `(rows, l, features)`, the predicted tokens; of characters, the logits.

    Raises:
        ValueError: if `cells` is no list of cells, `feedback` is unknown, the bottom cell has
            another number of states than the main RNN, or `uniform` is missing.
    """

    def __init__(
        self, cells: list | None, hidden_units: int | None, drop_rate: float,
        truncation: int | None, drop_per: str = "example", feedback: str = "sample",
        feedback_gradient: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(autocast=False, **kwargs)  # half precision would round `uniform`
        a_list = isinstance(cells, (list, tuple))
        if cells is not None and not (a_list and cells and all(map(is_cell, cells))):
            raise ValueError(
                "`cells` must be a list of at least one RNN cell, such as "
                f"[keras.layers.LSTMCell(128)]. Received: {cells=}"
            )
        check_choice("feedback", feedback, FEEDBACKS)
        check_readout("hidden_units", hidden_units, drop_rate, drop_per)
        self.cells = cells and list(cells)
        self.hidden_units = hidden_units
        self.drop_rate = drop_rate
        self.drop_per = drop_per
        self.truncation = check_truncation("truncation", truncation)
        self.feedback = feedback
        self.feedback_gradient = feedback_gradient
        self.projections: list[keras.layers.Dense] = []

    def copy_cells(self, cell, layers):
        """Makes cells like another one, without dropout and regularizers, if there are none."""
        if self.cells is None:
            config = {k: v for k, v in cell.get_config().items() if k not in ("name", "seed")}
            try:
                self.cells = [type(cell).from_config(unbuilt(config)) for _ in range(layers)]
            except (NotImplementedError, TypeError) as error:  # a cell without its `get_config`
                raise ValueError(
                    "`cells` must be given where the main RNN's cell cannot be made anew from its "
                    f"config. Received: cells=None, {cell!r}: {error}"
                ) from error

    def build(self, segments_shape, states_shape, embedding_shape=None):
        """Builds for tokens embedded to `embedding_shape[-1]` features, by default not
        embedded, and for the given states, or the zero state if `states_shape` is None.
        Of characters the last axis of `segments_shape` is their number."""
        features = segments_shape[-1]
        self.readout = TokenReadout(
            features, self.hidden_units, self.drop_rate, self.drop_per,
            dtype=self.dtype_policy, name="readout",
        )  # fmt: skip
        below = features if embedding_shape is None else embedding_shape[-1]
        for cell in self.cells:
            if not cell.built:  # one that was loaded is
                cell.build((None, below))
            below = output_size(cell)
        if states_shape is not None:
            self._build_projections([shape[-1] for shape in states_shape])
        self.readout.build((None, None, below))

    def _build_projections(self, given):
        wanted = state_sizes(self.cells[0])
        if len(wanted) != len(given):
            raise ValueError(
                "`cells` must begin with a cell that has as many states as the main RNN, from "
                "whose state it starts: GRUCell with a GRU, LSTMCell with an LSTM. Received: "
                f"{self.cells[0]!r} with states of {wanted} units; the RNN's: {given}"
            )
        if wanted != given:
            self.projections = [
                keras.layers.Dense(units, dtype=self.dtype_policy, name=f"state_{i}")
                for i, units in enumerate(wanted)
            ]
            for layer, units in zip(self.projections, given):
                layer.build((None, units))

    def call(
        self, segments: tf.Tensor, states: Sequence[tf.Tensor], feed: tf.Tensor | None = None,
        uniform: tf.Tensor | None = None, drop_mask: tf.Tensor | None = None,
        embedding: keras.layers.Layer | None = None, feedback: str | None = None,
        hidden: bool = False,
    ) -> tf.Tensor:  # fmt: skip
        segments = tf.convert_to_tensor(segments)
        characters = not segments.dtype.is_floating
        tokens = recurrence.time_major(segments, self.compute_dtype)[:-1]
        stack = self._recurrences(embedding)
        states = [tf.cast(s, self.compute_dtype) for s in states]
        if self.projections:
            states = [layer(s) for layer, s in zip(self.projections, states)]
        records = [stack[0].from_states(states)]
        records += [above.first(tf.shape(tokens)[1]) for above in stack[1:]]
        readout = self.readout.weights_with(drop_mask)
        last = without_last(readout) if hidden else readout
        if feed is None:
            return self._predict(stack, records, tokens, last)
        feed = tf.transpose(tf.concat([tf.ones_like(feed[:, :1]), feed[:, 1:]], axis=1))
        feedback = (feedback or self.feedback) if characters else None
        if feedback == "sample" and uniform is None:
            raise ValueError("`uniform` must be given to draw fed-back characters. Received: None")
        uniform = uniform if uniform is None else tf.transpose(uniform)
        if self.feedback_gradient or not self._compiled(stack):
            return self._sample_and_predict(
                stack, records, tokens, feed, uniform, readout, feedback, hidden
            )
        # A fed-back output is a constant, so the forward run that samples fixes the inputs.
        kernels, table = [r.kernel for r in stack], stack[0].table
        stop = (kernels, table, readout, tokens, feed, uniform, records)
        tokens, residuals = sample_lstm_decoder(
            *tf.nest.map_structure(lambda t: t if t is None else tf.stop_gradient(t), stop),
            feedback,
        )
        return self._predict(stack, records, tokens, last, residuals)

    def read(self, inputs, drop_mask=None, hidden=False):
        """Reads inputs from the zero state on and predicts a token at every step.

        Args:
            inputs: `(time, rows, units)`, time-major.
            drop_mask, hidden: as in the call.

        Returns:
            as the call.
        """
        stack, inputs = self._recurrences(None), tf.cast(inputs, self.compute_dtype)
        records = [cell.first(tf.shape(inputs)[1]) for cell in stack]
        readout = self.readout.weights_with(drop_mask)
        last = without_last(readout) if hidden else readout
        return self._predict(stack, records, inputs, last)

    def _recurrences(self, embedding):
        return [
            recurrence.make_recurrence(cell, embedding if i == 0 else None, self.compute_dtype)
            for i, cell in enumerate(self.cells)
        ]

    @staticmethod
    def _compiled(stack):
        return all(isinstance(r, recurrence.LSTMRecurrence) for r in stack)

    def _predict(self, stack, records, inputs, readout, residuals=None):
        """The inputs are known: the stack runs over all steps, the readout over its outputs."""
        lengths = tf.fill([tf.shape(inputs)[1]], tf.shape(inputs)[0])
        if self._compiled(stack):
            through = residuals is None or stack[0].table is not None
            outputs = lstm_scan(
                [r.kernel for r in stack], stack[0].look_up(inputs), records, lengths,
                self.truncation, "outputs", residuals, through_inputs=through,
            )  # fmt: skip
        else:
            outputs = inputs
            for layer, record in zip(stack, records):
                outputs = layer.scan(outputs, record, lengths, self.truncation, "outputs")
        return feed_forward_over_time(outputs, *readout)

    def _sample_and_predict(self, stack, records, tokens, feed, uniform, readout, feedback, hidden):
        """Any cells, and gradient through the fed-back output: one differentiated loop."""
        cut, steps = self.truncation, tokens.shape[0] or tf.shape(tokens)[0]
        constant = tf.identity if self.feedback_gradient else tf.stop_gradient

        def body(t, own, records, outputs):
            if cut:
                own, records = tf.nest.map_structure(
                    lambda s: recurrence.cut_gradient(s, t, cut), (own, records)
                )
            below, after = choose(feed[t], tokens[t], constant(own)), []
            for cell, record in zip(stack, records):
                after.append(cell.step(below, record))
                below = tf.stop_gradient(after[-1][0]) if cut == 0 else after[-1][0]
            prediction = feed_forward(below, *readout)
            if cut == 0:
                after = tf.nest.map_structure(tf.stop_gradient, after)
            own = own_token(prediction, uniform if uniform is None else uniform[t], feedback)
            return t + 1, own, after, outputs.write(t, below if hidden else prediction)

        shape = (tokens.shape[1], output_size(self.cells[-1]) if hidden else self.readout.features)
        outputs = tf.TensorArray(self.compute_dtype, steps, element_shape=shape)
        loop = (0, tf.zeros_like(tokens[0]), records, outputs)
        loop = tf.while_loop(lambda t, *_: t < steps, body, loop, maximum_iterations=steps)
        outputs = loop[3].stack()
        if hidden:
            return feed_forward_over_time(outputs, *without_last(readout))
        return tf.transpose(outputs, (1, 0, 2))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cells": keras.saving.serialize_keras_object(self.cells),
            "hidden_units": self.hidden_units,
            "drop_rate": self.drop_rate,
            "truncation": self.truncation,
            "drop_per": self.drop_per,
            "feedback": self.feedback,
            "feedback_gradient": self.feedback_gradient,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "cells"))
