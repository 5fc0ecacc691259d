"""The paper's baselines without recurrence: Transformer and T-DMCA (section 4.2)."""

import keras
import tensorflow as tf

from aux_keras.layers import randomness
from aux_keras.layers.arguments import check_rate, revive
from aux_keras.layers.padding import zero_padding
from aux_keras.layers.transformer_block import sinusoidal_positions
from aux_keras.models import input_checks
from aux_keras.models.clocked_model import TRAINING
from aux_keras.models.sequence_classifier import SequenceClassifier


@keras.saving.register_keras_serializable("aux_keras")
class TransformerClassifier(SequenceClassifier):
    """Classifies sequences with a Transformer encoder.

    Embedded tokens, times the root of their width, and sinusoidal positions; a stack of
    `TransformerBlock`s and a last normalization; the mean over valid positions; the
    classifier of `AuxiliaryClassifier`. It trains like any Keras model. Padding changes
    nothing.

    Args:
        classes: int, number of classes.
        embedding: `TokenEmbedding`; its width is that of all blocks.
        blocks: list of `TransformerBlock`.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        input_drop_rate: float, dropout of the embedded tokens.
        **kwargs: `drop_per`, `output_initializer`, `seed`, `preprocessing`, see
            `SequenceClassifier`; `name` and `dtype`, see `keras.Model`.

    Call arguments and returns: as `AuxiliaryClassifier`.

    Raises:
        ValueError: on arguments or shapes outside what is said above.

    Example:
        >>> blocks = [TransformerBlock(SelfAttention(heads=4), 64, drop_rate=0.1)]
        >>> model = TransformerClassifier(
        ...     10, TokenEmbedding(32), blocks, classifier_units=64, drop_rate=0.5,
        ...     input_drop_rate=0.1)
        >>> model.predict(np.zeros((2, 64, 1)), verbose=0).shape
        (2, 10)

    References: Vaswani et al. 2017, with the settings of tensor2tensor's `transformer_tiny`;
    Liu et al. 2018 for local and memory-compressed attention.
    """

    def __init__(
        self, classes, embedding, blocks, classifier_units, drop_rate, input_drop_rate, **kwargs
    ):  # fmt: skip
        super().__init__(classes, classifier_units, drop_rate, **kwargs)
        if embedding is None or embedding.units % 2:
            raise ValueError(
                "`embedding` must be a `TokenEmbedding` of even width: half of the positions are "
                f"sines. Received: embedding={embedding!r}"
            )
        if not blocks:
            raise ValueError(
                f"`blocks` must hold at least one `TransformerBlock`. Received: {blocks=}"
            )
        self.embedding = embedding
        self.blocks = list(blocks)
        self.input_drop_rate = check_rate("input_drop_rate", input_drop_rate)
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )

    def build(self, inputs_shape):
        input_checks.check_shapes(inputs_shape, self.vocabulary)
        tokens_shape = inputs_shape["tokens"] if isinstance(inputs_shape, dict) else inputs_shape
        self.features = None if self.vocabulary else tokens_shape[-1]
        units = self.embedding.units
        if not self.embedding.built:  # one that was loaded is
            self.embedding.build(tuple(tokens_shape))
        for layer in (*self.blocks, self.norm):
            if not layer.built:
                layer.build((None, None, units))
        self.build_classifier(units)
        self.built = True

    def inference_layers(self):
        return [self.embedding, *self.blocks, self.norm, *self.head]

    def call(self, inputs, training=False):
        if training:
            return self.forward(inputs, self.key(TRAINING, self.training_step), True)[0]
        tokens, lengths = input_checks.split_inputs(inputs)
        return self.classify(self.encode(tokens, lengths, False, None), False)

    def forward(self, inputs, key, training):
        self.ensure_built(inputs)
        tokens, lengths = input_checks.split_inputs(inputs)
        head_key, encoder_key = (randomness.fold_in(key, i) for i in range(2))
        features = self.encode(tokens, lengths, training, encoder_key)
        return self.classify(features, training, head_key), []

    def encode(self, tokens, lengths, training, key):
        """The mean of the last block's valid outputs, `(batch, units)`."""
        outputs = self.embedding(tokens) * self.embedding.units**0.5
        outputs += tf.cast(
            sinusoidal_positions(tf.shape(tokens)[1], self.embedding.units), outputs.dtype
        )
        if training:
            keys = [randomness.fold_in(key, i) for i in range(len(self.blocks) + 1)]
            outputs = randomness.dropout(outputs, self.input_drop_rate, keys.pop(), 0)
        else:
            keys = [None] * len(self.blocks)
        for block, key in zip(self.blocks, keys):
            outputs = block(outputs, lengths, training=training, key=key)
        # float32: in half precision a sum over thousands of steps stands still.
        outputs = tf.cast(zero_padding(self.norm(outputs), lengths), tf.float32)
        mean = tf.reduce_sum(outputs, axis=1) / tf.cast(lengths, tf.float32)[:, None]
        return tf.cast(mean, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            "blocks": [keras.saving.serialize_keras_object(b) for b in self.blocks],
            "input_drop_rate": self.input_drop_rate,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive(config, "embedding", "blocks"))
