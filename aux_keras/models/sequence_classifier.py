"""What all classifiers of sequences share: the head, the training step, and its clock."""

import keras
import tensorflow as tf

from aux_keras.layers.drop_connect import DropConnectDense
from aux_keras.models import input_checks
from aux_keras.models.clocked_model import ClockedModel, check_integer


class SequenceClassifier(input_checks.CheckedModel, ClockedModel):
    """A classifier of sequences whose draws are functions of its saved clock.

    Subclasses have an `embedding` (`TokenEmbedding` or None), and make features of
    sequences in `call` and, from a random key, in `forward`; the classifier on top, the
    training step and what it logs are here. All randomness is a function of (`seed`,
    `training_step`, replica), and `training_step` is saved with the weights and counts
    over all phases.

    Args:
        classes: int, number of classes.
        classifier_units: int, width of the classifier's hidden layer; None for one dense layer.
        drop_rate: float, DropConnect rate of the classifier's last layer.
        drop_per: `"example"` or `"batch"`, see `DropConnectDense`.
        output_initializer: initializer of the last layer's kernel.
        preprocessing: dictionary of JSON values that says how the tokens were made of raw
            data (a permutation, a scale); kept and saved for whoever serves the model.

    Raises:
        ValueError: on arguments outside what is said above.
    """

    def __init__(
        self, classes, classifier_units, drop_rate, drop_per="example",
        output_initializer="glorot_uniform", preprocessing=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.classes = check_integer("classes", classes, 1)
        self.classifier_units = classifier_units
        if preprocessing is not None and not isinstance(preprocessing, dict):
            raise ValueError(f"`preprocessing` must be a dictionary. Received: {preprocessing!r}")
        self.preprocessing = preprocessing
        policy = self.dtype_policy
        self.hidden = classifier_units and keras.layers.Dense(
            classifier_units, activation="relu", dtype=policy, name="hidden"
        )
        self.readout = DropConnectDense(
            classes, drop_rate, drop_per, output_initializer, dtype=policy, name="readout"
        )

    def compile(self, optimizer="rmsprop", loss=None, **arguments):
        """As `keras.Model.compile`.

        Raises:
            ValueError: if the loss expects logits.
        """
        if getattr(loss, "from_logits", False):
            raise ValueError(
                "`loss` must not set `from_logits`: the model returns probabilities. "
                f"Received: {loss!r}"
            )
        super().compile(optimizer=optimizer, loss=loss, **arguments)

    @property
    def vocabulary(self):
        """Number of different characters; None if tokens are real."""
        return None if self.embedding is None else self.embedding.vocabulary

    @property
    def head(self):
        """The layers of the classifier."""
        return [layer for layer in (self.hidden, self.readout) if layer]

    def inference_layers(self):
        """Every layer that `call` uses."""
        raise NotImplementedError

    def build_classifier(self, width):
        """Builds what is on top of features `(batch, width)`."""
        if self.hidden:
            self.hidden.build((None, width))
        self.readout.build((None, self.classifier_units or width))

    def classify(self, features, training, key=None):
        """Probabilities `(batch, classes)` from features `(batch, width)`."""
        mask = None
        if training and key is not None and self.readout.rate:
            mask = self.readout.draw_mask(tf.shape(features)[0], key)
        hidden = self.hidden(features) if self.hidden else features
        logits = self.readout(hidden, training=training, drop_mask=mask)
        # float32: probabilities and their logarithms underflow in half precision.
        return keras.activations.softmax(tf.cast(logits, tf.float32))

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
        if self.vocabulary is not None:
            return tf.TensorSpec((None, None), tf.int32, "tokens")
        return tf.TensorSpec((None, None, self.features), tf.float32, "tokens")

    def get_config(self):
        return {
            **super().get_config(),
            "classes": self.classes,
            "classifier_units": self.classifier_units,
            "drop_rate": self.readout.rate,
            "drop_per": self.readout.per,
            "output_initializer": self.readout.get_config()["kernel_initializer"],
            "preprocessing": self.preprocessing and dict(self.preprocessing),
        }
