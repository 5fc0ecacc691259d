"""What the paper's networks share: features of a sequence, and the classifier on top of them."""

import json

import keras
import tensorflow as tf

from aux_keras.arguments import check_integer, check_readout, revive
from aux_keras.layers.drop_connect import DropConnectDense
from aux_keras.models import input_checks, token_checks
from aux_keras.models.auxiliary_model import AuxiliaryModel


def plain(preprocessing):
    """A dictionary of JSON values, NumPy's as Python's, or None.

    Raises:
        ValueError: if it holds anything else.
    """
    if preprocessing is not None and not isinstance(preprocessing, dict):
        raise ValueError(f"`preprocessing` must be a dictionary. Received: {preprocessing!r}")
    try:
        return json.loads(json.dumps(preprocessing, default=lambda value: value.tolist()))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`preprocessing` must hold JSON values. Received: {preprocessing!r}"
        ) from error


def check_names(names, classes):
    """Raises unless these are None or the names of so many classes."""
    strings = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if names is not None and not (strings and len(names) == classes):
        raise ValueError(
            "`preprocessing` must have a name for every class in 'label_names', a list of "
            f"strings. Received: {names} for {classes} classes"
        )


@keras.saving.register_keras_serializable("aux_keras")
class SequenceNetwork(keras.Model):
    """The Keras model inside a `SequenceClassifier`.

    Args:
        encoder: layer from tokens `(batch, time, features)`, or characters `(batch, time)`, and
            a `mask` of them, to `(batch, width)`; has an `embedding` or None.
        hidden: layer, or None.
        readout: `DropConnectDense`.
        activation: Keras activation of the output.

    Call arguments:
        inputs: tokens; or a dictionary of these `"tokens"` and `"lengths"`, `(batch,)` int.
        training: bool.

    Returns:
        `(batch, units of the readout)`, float32.
    """

    def __init__(self, encoder, hidden, readout, activation, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.hidden = hidden
        self.readout = readout
        self.activation = keras.activations.get(activation)

    def build(self, inputs_shape):
        tokens_shape = inputs_shape["tokens"] if isinstance(inputs_shape, dict) else inputs_shape
        self.encoder.build(tuple(tokens_shape))
        width = self.encoder.compute_output_shape(tuple(tokens_shape))[-1]
        if self.hidden:
            self.hidden.build((None, width))
            width = self.hidden.units
        self.readout.build((None, width))

    def call(self, inputs, training=False):
        tokens, lengths = input_checks.split_inputs(inputs)
        mask = None
        if isinstance(inputs, dict):
            mask = tf.sequence_mask(lengths, tf.shape(tokens)[1])
            mask = tf.ensure_shape(mask, tokens.shape[:2])
        return self.classify(self.encoder(tokens, mask=mask, training=training), training)

    def classify(self, features, training=False):
        """The output `(batch, units)` from features `(batch, width)`."""
        hidden = self.hidden(features) if self.hidden else features
        logits = self.readout(hidden, training=training)
        # float32: probabilities and their logarithms underflow in half precision.
        return self.activation(tf.cast(logits, tf.float32))

    def get_config(self):
        parts = {"encoder": self.encoder, "hidden": self.hidden, "readout": self.readout}
        return {
            **super().get_config(),
            **{k: keras.saving.serialize_keras_object(v) for k, v in parts.items()},
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive(config, "encoder", "hidden", "readout"))


class SequenceClassifier(AuxiliaryModel):
    """An `AuxiliaryModel` around an encoder of sequences and a classifier.

    Args:
        classes: int, number of classes, or of outputs where `activation` is another.
        encoder: see `SequenceNetwork`.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        output_initializer: initializer of the last layer's kernel.
        activation: Keras activation of the output: `"softmax"` for classes that exclude each
            other, `"sigmoid"` for one class against the rest or several labels, `"linear"` for
            numbers or logits.
        preprocessing: dictionary of JSON values that says how the tokens were made of raw
            data (a permutation, a scale); kept and saved for whoever serves the model.
        **kwargs: `auxiliary` and the rest, see `AuxiliaryModel`.

    Raises:
        ValueError: if an argument is outside its documented range.
    """

    def __init__(
        self, classes, encoder, classifier_units, drop_rate, drop_per="example",
        output_initializer="glorot_uniform", activation="softmax", preprocessing=None, dtype=None,
        **kwargs,
    ):  # fmt: skip
        preprocessing = plain(preprocessing)
        check_names((preprocessing or {}).get("label_names"), classes)
        if classes == 1 and keras.activations.get(activation) is keras.activations.softmax:
            raise ValueError(
                "`activation` must not be 'softmax' with one class, whose probability is always "
                "1: 'sigmoid' for a yes or no, 'linear' for a number. Received: classes=1"
            )
        check_readout("classifier_units", classifier_units, drop_rate, drop_per)
        policy = keras.dtype_policies.get(dtype)
        units = {"units": classifier_units, "activation": "relu", "dtype": policy}
        readout = DropConnectDense(
            check_integer("classes", classes, 1), drop_rate, drop_per, output_initializer,
            dtype=policy, name="readout",
        )  # fmt: skip
        hidden = keras.layers.Dense(**units, name="hidden") if classifier_units else None
        network = SequenceNetwork(
            encoder, hidden, readout, activation, dtype=policy, name="network"
        )
        super().__init__(network, dtype=policy, **kwargs)
        self.classes = classes
        self.preprocessing = preprocessing

    @property
    def encoder(self):
        """The layer that makes features of sequences."""
        return self.model.encoder

    @property
    def embedding(self):
        """The `TokenEmbedding` through which tokens are read, or None."""
        return self.encoder.embedding

    @property
    def vocabulary_size(self):
        """Number of different characters; None if tokens are real."""
        return None if self.embedding is None else self.embedding.vocabulary_size

    @property
    def readout(self):
        """The last layer."""
        return self.model.readout

    @property
    def hidden(self):
        """The hidden layer of the classifier, or None."""
        return self.model.hidden

    def build(self, inputs_shape):
        token_checks.check_shapes(inputs_shape, self.expected_data())
        tokens_shape = self.tokens_of(inputs_shape)
        if not isinstance(inputs_shape, dict):
            input_checks.check_segments(self.auxiliary, tokens_shape[1])
        self.features = None if self.vocabulary_size else tokens_shape[-1]
        super().build(inputs_shape)

    def tokens_of(self, inputs):
        return inputs["tokens"] if isinstance(inputs, dict) else inputs

    def expected_data(self):
        features = self.features if self.built and self.vocabulary_size is None else None
        softmax = self.model.activation is keras.activations.softmax
        loss = self.compiled_with()["loss"] if self.compiled_with else None
        every = softmax and getattr(loss, "ignore_class", None) is None
        expected = input_checks.expected_by(loss, (None, self.classes))
        return expected._replace(
            tokens_alone=True, vocabulary_size=self.vocabulary_size, features=features,
            classes=self.classes if every and not expected.sparse else expected.classes,
            finite=self.tokens_of,
        )  # fmt: skip

    def classify(self, features, training=False):
        """The output `(batch, classes)` from features `(batch, width)`."""
        return self.model.classify(features, training)

    def compile(self, optimizer="rmsprop", loss=None, *more, **arguments):
        """As `keras.Model.compile`.

        Raises:
            ValueError: if the loss expects logits of a model that returns probabilities.
        """
        linear = self.model.activation is keras.activations.linear
        if getattr(loss, "from_logits", False) and not linear:
            raise ValueError(
                "`loss` must not set `from_logits`: the model returns probabilities. "
                f"Received: {loss!r}"
            )
        super().compile(optimizer, loss, *more, **arguments)

    def export(
        self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **options
    ):  # fmt: skip
        """As `keras.Model.export`; a model that was built by `fit` needs no call before.

        By default batch and time are of any size. `serving.export.export_model` writes what
        more a server needs: labels, streams, raw files.
        """
        if self.built and input_signature is None:
            inputs = self.tokens_spec()
            (built_for,) = self.get_build_config().values()
            if isinstance(built_for, dict):
                inputs = {"tokens": inputs, "lengths": tf.TensorSpec((None,), tf.int32, "lengths")}
            input_signature = [inputs]
        return super().export(filepath, format, verbose, input_signature, **options)

    def tokens_spec(self):
        """Shape and type of the tokens of a built model, batch and time of any size."""
        if self.vocabulary_size is not None:
            return tf.TensorSpec((None, None), tf.int32, "tokens")
        return tf.TensorSpec((None, None, self.features), tf.float32, "tokens")

    def get_config(self):
        observed = ("model", "rnn", "embedding", "tokens", "target")  # found by ourselves
        config = {k: v for k, v in super().get_config().items() if k not in observed}
        readout = self.readout.get_config()
        return {
            **config,
            "classes": self.classes,
            "classifier_units": self.hidden.units if self.hidden else None,
            "drop_rate": readout["rate"],
            "drop_per": readout["per"],
            "output_initializer": readout["kernel_initializer"],
            "activation": keras.activations.serialize(self.model.activation),
            "preprocessing": self.preprocessing and dict(self.preprocessing),
        }
