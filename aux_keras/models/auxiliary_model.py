"""The auxiliary losses on any Keras model that has a recurrent layer in it."""

import contextlib

import keras
import tensorflow as tf

from aux_keras.layers.arguments import revive
from aux_keras.layers.auxiliary_task import AuxiliaryTask
from aux_keras.layers.padding import valid_lengths
from aux_keras.layers.recurrence import make_recurrence
from aux_keras.layers.token_embedding import TokenEmbedding
from aux_keras.layers.truncated_rnn import check_cell
from aux_keras.models import input_checks
from aux_keras.models.auxiliary_training import AuxiliaryTraining
from aux_keras.models.memory_gap import Reading


@keras.saving.register_keras_serializable("aux_keras")
class AuxiliaryModel(AuxiliaryTraining):
    """Trains a Keras model with auxiliary losses at one of its recurrent layers.

    The model is not rewritten: what it returns, its own loss with full back-propagation, its
    dropout and its weights stay as they are, and it can be used alone at any time. At every
    training step the sequence that goes into the layer is observed; the layer reads it again
    up to random anchors, with gradient through the `truncation` steps before them, and the
    auxiliary losses reconstruct or predict the model's input tokens there. Dropout inside the
    recurrent cell is left out of that second reading.

    What the layer reads must have a time step for every token. If layers before it see the
    future (a bidirectional one, a centred convolution), prediction has little to predict.

    Args:
        model: a built functional, sequential or subclassed `keras.Model`. Its inputs are
            tokens `(batch, time, features)`, or characters `(batch, time)`, which then go
            through a `keras.layers.Embedding` that the decoders share. Time steps that the
            recurrent layer is told to mask, before or behind, are left out.
        auxiliary: list of `Reconstruction` and `Prediction`, with distinct names.
        rnn: name of the recurrent layer, by default the only one; of a `Bidirectional` layer
            the one that reads forward is meant.
        embedding: name of the characters' `keras.layers.Embedding`, by default the only one.
        tokens: key or position of the tokens, where the model has several inputs.
        auxiliary_weight: float; with 0 the auxiliary losses are used by `pretrain` alone.
        sampling_decay_steps: int, training steps in which the decoders go from true
            tokens to their own outputs; None to feed true tokens always.
        **kwargs: `placement_growth_steps`, `memory_gap`, see `AuxiliaryTraining`; `seed`, see
            `ClockedModel`; `name` and `dtype`, see `keras.Model`.

    Call arguments, Returns: those of the model.

    Raises:
        ValueError: if the layers or the tokens cannot be found, or do not fit together.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((64, 3)), keras.layers.LSTM(32), keras.layers.Dropout(0.2),
        ...     keras.layers.Dense(5, activation="softmax")])
        >>> task = Reconstruction([keras.layers.LSTMCell(32)], num_anchors=1, segment_length=20,
        ...                       truncation=10, hidden_units=64, drop_rate=0.5)
        >>> wrapped = AuxiliaryModel(model, [task])
        >>> wrapped.compile("adam", "sparse_categorical_crossentropy")
        >>> sorted(wrapped.train_on_batch(np.ones((2, 64, 3)), np.zeros(2), return_dict=True))
        ['auxiliary_loss', 'loss', 'supervised_loss']

    Reference: Trinh et al. 2018, section 3.
    """

    def __init__(
        self, model, auxiliary, rnn=None, embedding=None, tokens=None, auxiliary_weight=1.0,
        sampling_decay_steps=None, **kwargs,
    ):  # fmt: skip
        super().__init__(
            auxiliary=auxiliary, auxiliary_weight=auxiliary_weight,
            sampling_decay_steps=sampling_decay_steps, **kwargs,
        )  # fmt: skip
        if not isinstance(model, keras.Model) or not model.built:
            raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}")
        for task in self.auxiliary:
            if not isinstance(task, AuxiliaryTask):
                raise ValueError(
                    f"`auxiliary` must hold Reconstruction and Prediction. Received: {task!r}"
                )
        self.model = model
        self.rnn = rnn
        self.embedding = embedding
        self.tokens = tokens
        check_cell(self.layer, refused=("go_backwards", "stateful"))
        shape = getattr(model, "input_shape", None)
        if isinstance(shape, tuple) and is_shape(shape):
            self.build(shape)

    @property
    def layer(self):
        """The recurrent layer; of a bidirectional one that which reads forward."""
        kinds = (keras.layers.RNN, keras.layers.Bidirectional)
        layer = find_layer(self.model, kinds, "recurrent layer", "rnn", self.rnn)
        return getattr(layer, "forward_layer", layer)

    def build(self, inputs_shape):
        shape = self.tokens_of(inputs_shape)
        if not is_shape(shape) or len(shape) not in (2, 3):
            raise ValueError(
                "`tokens` must name the input of shape (batch, time, features), or (batch, time) "
                f"of characters. Received: tokens={self.tokens!r} of {inputs_shape}"
            )
        characters, cell = len(shape) == 2, check_cell(self.layer, ())
        embedding = self.token_embedding() if characters else None
        for task in self.auxiliary:
            task.build_task(
                embedding.vocabulary if characters else shape[-1],
                tf.nest.flatten(cell.state_size), cell.output_size,
                embedding.units if characters else None, characters=characters,
            )  # fmt: skip
        self.built = True

    def recurrent_weights(self):
        return self.layer.weights

    def call(self, inputs, training=False):
        return self.model(inputs, training=training)

    def forward(self, inputs, key, training):
        self.ensure_built(inputs)
        if not self.active_tasks():
            return self.model(inputs, training=training), []
        y_pred, reading = self.observe(inputs, training)
        _, auxiliary = self.run_tasks(reading, key, training)
        return None if self.pretraining else y_pred, auxiliary

    def reading(self, inputs):
        """See `Reading`."""
        self.ensure_built(inputs)
        return self.observe(inputs, False)[1]

    def observe(self, inputs, training):
        """What the model returns, and the `Reading` of its recurrent layer."""
        layer = self.layer
        with observed(layer) as calls:
            y_pred = self.model(inputs, training=training)
        if len(calls) != 1:
            raise ValueError(
                f"`rnn` must be called once by the model. Received: {layer.name!r}, "
                f"called {len(calls)} times"
            )
        ((features, mask),) = calls
        tokens = tf.convert_to_tensor(self.tokens_of(inputs))
        characters = tokens.shape.rank == 2
        tokens = tf.cast(tokens, tf.int32 if characters else tf.float32)
        if tokens.shape[1] != features.shape[1]:
            raise ValueError(
                "`rnn` must read a time step for every token. Received: "
                f"{features.shape[1]} time steps for {tokens.shape[1]} tokens"
            )
        lengths = None
        if mask is None:  # nothing makes a sequence shorter
            input_checks.check_segments(self.active_tasks(), tokens.shape[1])
        else:  # the layer passes over what is masked, wherever it is
            order = tf.argsort(tf.cast(mask, tf.int32), axis=1, direction="DESCENDING", stable=True)
            tokens, features = (tf.gather(t, order, batch_dims=1) for t in (tokens, features))
            lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        dtype = layer.compute_dtype
        reading = Reading(
            make_recurrence(check_cell(layer, ()), None, dtype),
            self.token_embedding() if characters else None,
            tokens, tf.cast(features, dtype), valid_lengths(features, lengths),
        )  # fmt: skip
        return y_pred, reading

    def tokens_of(self, inputs):
        """The tokens, or their shape, among the inputs, or their shapes."""
        if self.tokens is None:
            return inputs
        try:
            return inputs[self.tokens]
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                "`tokens` must be a key or position in the model's inputs. Received: "
                f"tokens={self.tokens!r} of {inputs}"
            ) from None

    def token_embedding(self):
        """The model's own table of characters, as the decoders read through it."""
        kind, what = keras.layers.Embedding, "keras.layers.Embedding of tokens (batch, time)"
        layer = find_layer(self.model, kind, what, "embedding", self.embedding)
        shared = TokenEmbedding(layer.output_dim, layer.input_dim)
        shared.kernel, shared.built = layer.embeddings, True
        return shared

    def export(self, *arguments, **options):
        """As `keras.Model.export`: the model, without the auxiliary losses."""
        return self.model.export(*arguments, **options)

    def get_config(self):
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "rnn": self.rnn,
            "embedding": self.embedding,
            "tokens": self.tokens,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive(config, "model", "auxiliary"))


def is_shape(value):
    """Whether a value is the shape of one tensor, and not of several."""
    return isinstance(value, (tuple, list)) and all(n is None or isinstance(n, int) for n in value)


def every_layer(model):
    """The layers of a model, also those inside the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from every_layer(layer)


def find_layer(model, kinds, what, argument, name):
    """The layer of these kinds in a model: the one of that name, or the only one."""
    found = [layer for layer in every_layer(model) if isinstance(layer, kinds)]
    named = [layer for layer in found if name in (None, layer.name)]
    if len(named) != 1:
        raise ValueError(
            f"`{argument}` must name one {what} in the model. Received: "
            f"{argument}={name!r}; there are {[layer.name for layer in found]}"
        )
    return named[0]


@contextlib.contextmanager
def observed(layer):
    """Collects `(sequences, mask)` of every call of a recurrent layer inside the block."""
    calls, call = [], layer.call

    def record(sequences, initial_state=None, mask=None, training=False):
        if initial_state is not None:
            raise ValueError(
                "`rnn` must start from its own initial state. Received: "
                f"{layer.name!r}, called with `initial_state`"
            )
        calls.append((sequences, mask))
        return call(sequences, mask=mask, training=training)

    layer.call = record
    try:
        yield calls
    finally:
        del layer.call  # the class's own is there again
