"""Truncated back-propagation (sections 3, 4.1, 5.1) around any Keras RNN."""

from functools import partial
from typing import Any, Self

import keras
import tensorflow as tf

from aux_keras import randomness
from aux_keras.arguments import (
    check_runs_as_keras,
    check_truncation,
    is_cell,
    revive,
    shape_built_for,
    state_sizes,
)
from aux_keras.layers.token_embedding import TokenEmbedding
from aux_keras.padding import Sequences, expand_steps, valid_steps
from aux_keras.scan import recompute, recurrence, windows
from aux_keras.scan.cell_dropout import dropped
from aux_keras.scan.parts import PART, at_least_one
from aux_keras.scan.rows import map_rows

OPTIONS = (
    "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask",
)  # fmt: skip


def option_of_rnn(name):
    """A property that is an option of the RNN layer inside; `Bidirectional` sets one."""
    return property(
        lambda self: getattr(self.rnn, name), lambda self, value: setattr(self.rnn, name, value)
    )


@keras.saving.register_keras_serializable("aux_keras")
class TruncatedRNN(keras.layers.Layer):
    """A Keras RNN layer whose gradient passes through few time steps.

    It takes and returns what the RNN layer does, with the same values, in training and
    inference: masks, states, sequences. What differs is the gradient, and the memory of a
    training step:

    - `return_sequences=False`: the gradient passes through the last `truncation` valid steps
      of each sequence; the state before them is a constant. Memory is that of these steps.
    - `return_sequences=True`: the state becomes a constant every `truncation` valid steps.
      Back-propagation runs these stretches again one by one; beside inputs and outputs it keeps
      one of them, and one state for each.

    Masked steps are passed over, wherever they are, and do not count. Gradient reaches what is
    given in the call and the cell's weights, and not other tensors that a cell may read. There are
    no second-order gradients.

    Args:
        rnn: `keras.layers.LSTM`, `GRU`, `SimpleRNN` or `RNN`, or a cell, for
            `keras.layers.RNN(cell)`. It is not copied: options given here are set on it.
        truncation: int, time steps; None for full back-propagation, 0 for no gradient.
        embedding: `TokenEmbedding` through which the sequences are read, or None. Composed into
            the LSTM's kernel, it is faster than an embedding before the layer.
        return_sequences, return_state, go_backwards, stateful, zero_output_for_mask: bool, as in
            `keras.layers.RNN`; by default those of `rnn`.
        seed: int, of dropout inside the cell: masks are drawn once per call.

    Call arguments:
        sequences: `(batch, time, features)`, or characters `(batch, time)`.
        initial_state: list of `(batch, units)`, by default zeros; gradient reaches it through
            the first `truncation` steps.
        mask: `(batch, time)` bool, valid steps.
        training: bool, whether dropout inside the cell drops.

    Returns:
        `(batch, units)`, the output of the last valid step, or `(batch, time, units)`; with
        `return_state` a tuple of this and the states after the last valid step.

    Raises:
        ValueError: on a negative or fractional truncation, or what is no RNN; in a call, on
            sequences or a mask of another shape, or a cell that cannot be run again.

    Example:
        >>> layer = TruncatedRNN(keras.layers.LSTM(128), truncation=300)
        >>> layer(np.zeros((2, 784, 1))).shape
        TensorShape([2, 128])
        >>> layer = TruncatedRNN(keras.layers.GRU(8, return_sequences=True), truncation=10)
        >>> keras.layers.Bidirectional(layer)(np.zeros((2, 50, 1))).shape
        TensorShape([2, 50, 16])

    Reference: Trinh et al. 2018, sections 3 and 4.1.
    """

    return_sequences, return_state, go_backwards, stateful, zero_output_for_mask = map(
        option_of_rnn, OPTIONS
    )

    def __init__(
        self, rnn: keras.layers.Layer, truncation: int | None,
        embedding: TokenEmbedding | None = None, return_sequences: bool | None = None,
        return_state: bool | None = None, go_backwards: bool | None = None,
        stateful: bool | None = None, zero_output_for_mask: bool | None = None,
        seed: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if not isinstance(rnn, keras.layers.RNN) and not is_cell(rnn):
            raise ValueError(
                "`rnn` must be a Keras RNN layer (keras.layers.LSTM, GRU, SimpleRNN, RNN) or a "
                f"Keras RNN cell. Received: rnn={rnn!r}"
            )
        if kwargs.get("dtype") is None:  # computes as the layer would
            kwargs["dtype"] = getattr(rnn, "dtype_policy", None)
        kwargs.setdefault("activity_regularizer", getattr(rnn, "activity_regularizer", None))
        super().__init__(**kwargs)
        if is_cell(rnn):
            rnn = keras.layers.RNN(rnn, dtype=getattr(rnn, "dtype_policy", None), name="rnn")
        check_runs_as_keras(rnn)
        given = (return_sequences, return_state, go_backwards, stateful, zero_output_for_mask)
        for name, value in zip(OPTIONS, given):
            if value is not None:
                setattr(rnn, name, value)
        if embedding is not None and not isinstance(embedding, TokenEmbedding):
            raise ValueError(
                "`embedding` must be an aux_keras.TokenEmbedding, or None. "
                f"Received: embedding={embedding!r}"
            )
        self.rnn = rnn
        self.truncation = check_truncation("truncation", truncation)
        self.embedding = embedding
        self.features = None  # of the sequences, once it is built
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec()  # Keras then asks for a tensor

    @property
    def cell(self):
        """The recurrent cell."""
        return self.rnn.cell

    @property
    def states(self):
        """The variables that a stateful layer carries on; None before it is built."""
        return self.rnn.states

    def get_initial_state(self, batch_size):
        """The state before the first step, as in `keras.layers.RNN`."""
        return self.rnn.get_initial_state(batch_size)

    def reset_state(self) -> None:
        """Makes the carried state zero."""
        for variable in keras.tree.flatten(self.states or []):  # Keras fails where it is nested
            variable.assign(tf.zeros_like(variable))

    reset_states = reset_state  # Keras has both names

    def build(self, sequences_shape, initial_state_shape=None):
        if self.embedding is None and (shape := shape_built_for(self.rnn)):
            self.features = shape[-1]  # where the RNN layer has stood elsewhere
        self.check_shapes(sequences_shape, initial_state_shape)
        self.features = features = sequences_shape[-1]
        if self.embedding is not None:
            if not self.embedding.built:
                self.embedding.build((None, None, features))
            features = self.embedding.units
        if not self.rnn.built or (self.stateful and self.states is None):
            self.rnn.build((sequences_shape[0], None, features))

    def check_shapes(self, sequences, initial_state=None):
        """Raises unless these are the shapes of sequences and states that the layer reads."""
        sequences = tuple(sequences)
        characters = self.embedding is not None and self.embedding.vocabulary_size is not None
        wanted = None
        if len(sequences) != (2 if characters else 3):
            wanted = "be (batch, time), of characters" if characters else (
                "be (batch, time, features); give scalars a last axis of 1, and characters an "
                "`embedding` with a `vocabulary_size`"
            )  # fmt: skip
        elif not characters and self.features and sequences[-1] not in (None, self.features):
            wanted = f"have {self.features} features, as when the layer was built"
        elif sequences[1] == 0:
            wanted = "have at least one step"
        if wanted:
            raise ValueError(f"`sequences` must {wanted}. Received: shape={sequences}")
        if initial_state is None:
            return
        wanted, given = [(sequences[0], units) for units in state_sizes(self.cell)], []
        keras.tree.map_shape_structure(lambda shape: given.append(tuple(shape)), initial_state)
        if len(given) != len(wanted) or not all(
            tf.TensorShape(one).is_compatible_with(other) for one, other in zip(given, wanted)
        ):
            raise ValueError(
                f"`initial_state` must be {len(wanted)} tensors, of shapes {wanted}. "
                f"Received: shapes={given}"
            )

    def call(
        self, sequences: tf.Tensor, initial_state: Any = None, mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor | list[tf.Tensor]:  # fmt: skip
        given = self.prepare(sequences, initial_state, mask, training)
        if self.return_sequences and self.truncation:
            outputs, *last = recompute.run_in_chunks(
                lambda: self.recurrence(training, given.key), self.recurrent_weights,
                given.tokens, given.first, given.lengths, self.truncation, given.time,
            )  # fmt: skip
            return self.finish(given, outputs, tuple(last))
        run = self.every_output if self.return_sequences else self.last_output
        outputs, last = map_rows(
            partial(run, given.key, training), given.tokens, given.lengths, given.first
        )
        return self.finish(
            given, outputs[:, : given.time] if self.return_sequences else outputs, last
        )

    def prepare(self, sequences, initial_state=None, mask=None, training=False):
        """The arguments of a call as `Sequences`."""
        check_truncation("truncation", self.truncation)  # it may have been set since
        if isinstance(sequences, tf.RaggedTensor | tf.SparseTensor):
            raise ValueError(
                "`sequences` must be dense; `.to_tensor()` pads ragged ones, and a mask tells "
                f"which steps are valid. Received: {type(sequences).__name__}"
            )
        tokens = tf.convert_to_tensor(sequences)
        if tokens.dtype.is_complex or tokens.dtype == tf.string:
            raise ValueError(
                f"`sequences` must hold real numbers. Received: dtype={tokens.dtype.name}"
            )
        states = None
        if initial_state is not None:
            states = [tf.convert_to_tensor(state) for state in keras.tree.flatten(initial_state)]
        self.check_shapes(tokens.shape, states and [state.shape for state in states])
        if tokens.shape.rank == 3 and tokens.shape[-1] is None:  # of a dataset that does not tell
            tokens = tf.ensure_shape(tokens, (None, None, self.features))
        if self.go_backwards:
            tokens = tf.reverse(tokens, [1])
            mask = mask if mask is None else tf.reverse(tf.convert_to_tensor(mask), [1])
        tokens, lengths = valid_steps(tokens, mask)
        if (time := tokens.shape[1]) is None:
            time, tokens = tf.shape(tokens)[1], at_least_one(tokens, axis=1)
        key = None
        if training and dropped(self.cell):
            key = randomness.next_key(self.seed_generator)
        encoder = self.recurrence(training, key)
        if states is None and self.stateful:
            states = keras.tree.flatten(self.states)
            size, expected = tokens.shape[0], states[0].shape[0]
            if size not in (None, expected):
                raise ValueError(
                    f"`sequences` must have the batch size {expected} that the stateful layer was "
                    f"built for. Received: batch size {size}"
                )
        if states is None:
            first = encoder.first(tf.shape(tokens)[0])
        else:
            first = encoder.from_states([tf.cast(s, self.compute_dtype) for s in states])
        return Sequences(tokens, lengths, first, mask, key, time)

    def last_output(self, key, training, tokens, lengths, first):
        """The last output `(batch, units)` and the record after the last step."""

        def run(truncation, tokens, first):
            encoder, requests = self.recurrence(training, key), [(lengths[:, None], truncation)]
            (record,) = windows.states_at(encoder, tokens, requests, first)
            return tuple(part[:, 0] for part in record)

        record = self.run(training, partial(run, 0), partial(run, self.truncation), tokens, first)
        return record[0], record

    def every_output(self, key, training, tokens, lengths, first):
        """Outputs of all steps, `(batch, time, units)`, and the record after the last."""

        def run(forward, tokens, first):
            encoder = self.recurrence(training, key)
            given = encoder.inputs(tokens), first, lengths
            if forward:
                outputs, _, last = encoder.outputs_and_starts(*given, tokens.shape[1] or PART)
            else:
                outputs, *last = encoder.scan(*given, self.truncation, "both")
            return tf.transpose(outputs, (1, 0, 2)), *last

        outputs, *last = self.run(training, partial(run, True), partial(run, False), tokens, first)
        return outputs, tuple(last)

    def run(self, training, forward, differentiable, tokens, first):
        """Results of a function; in inference of one that keeps nothing for a gradient.

        Args:
            training: bool.
            forward, differentiable: functions of `tokens` and `first` with equal results.
        """
        if training:
            return differentiable(tokens, first)
        results = recompute.rerun_for_gradient(
            forward, differentiable, self.recurrent_weights, (tokens, first)
        )
        return tuple(map(tf.stop_gradient, results)) if self.truncation == 0 else results

    def finish(self, given, outputs, last):
        """What a call returns.

        Args:
            given: `Sequences`.
            outputs: the last ones `(batch, units)`, or all `(batch, time, units)`.
            last: the record after each sequence's last step.
        """
        states = self.recurrence(key=given.key).states(last)
        if self.stateful:
            for variable, state in zip(keras.tree.flatten(self.states), states):
                variable.assign(tf.stop_gradient(state))
        if self.return_sequences:
            output = expand_steps(outputs, given.mask, self.zero_output_for_mask)
        else:  # as Keras: without a valid step there is no output, but there is a state
            shown = given.lengths > 0
            if self.zero_output_for_mask and given.mask is not None:
                shown = tf.cast(given.mask[:, -1], tf.bool)
            output = tf.where(shown[:, None], outputs, tf.zeros_like(outputs))
        if self.return_state:
            return output, *keras.tree.pack_sequence_as(self.rnn.state_size, list(states))
        return output

    @property
    def recurrent_weights(self):
        """All weights that a step reads."""
        return [*self.rnn.weights, *(self.embedding.weights if self.embedding else [])]

    def recurrence(self, training=False, key=None):
        """The cell and embedding as they are now, ready to be unrolled."""
        return recurrence.make_recurrence(
            self.cell, self.embedding, self.compute_dtype, training, key
        )

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        self.check_shapes(sequences_shape, initial_state_shape)
        return self.rnn.compute_output_shape(tuple(sequences_shape))

    def compute_mask(self, sequences, mask=None):
        return self.rnn.compute_mask(sequences, mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "truncation": self.truncation,
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            **{name: getattr(self.rnn, name) for name in OPTIONS},
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**revive(config, "rnn", "embedding"))
