"""The pretrained RNN as a plain Keras model."""

import keras

from aux_keras.models.auxiliary_classifier import AuxiliaryClassifier


def feature_extractor(
    classifier: AuxiliaryClassifier, trainable: bool = False, return_sequences: bool = False,
    mask_zero: bool = True, name: str = "encoder",
) -> keras.Model:  # fmt: skip
    """A copy of a classifier's RNN, made of stock Keras layers, for other models.

    The embedding becomes a `keras.layers.Dense` or, for characters, a
    `keras.layers.Embedding`; the RNN is a layer of the kind that the classifier was made with.
    Weights are copied; back-propagation is not truncated. Of real tokens every time step is
    read: nothing marks padding.

    Args:
        classifier: a built `AuxiliaryClassifier`, of which pretraining is enough; that of a
            run is `keras.models.load_model("DIR/model.keras")`.
        trainable: bool, whether the copied weights are trained further.
        return_sequences: bool, whether to return every output instead of the last.
        mask_zero: bool, whether the character 0 is padding, as in our texts, and masked.
        name: name of the copy.

    Returns:
        `keras.Model` from `(batch, time, features)`, or `(batch, time)` characters, to
        `(batch, units)` or `(batch, time, units)`.

    Raises:
        ValueError: if `classifier` is no built `AuxiliaryClassifier`.

    Example:
        >>> classifier = AuxiliaryClassifier(
        ...     classes=10, rnn=keras.layers.LSTM(32), supervised_truncation=16,
        ...     classifier_units=64, drop_rate=0.5)
        >>> classifier.build((None, None, 3))
        >>> encoder = feature_extractor(classifier)
        >>> regression = keras.Sequential([encoder, keras.layers.Dense(1)])
        >>> regression.predict(np.ones((2, 64, 3)), verbose=0).shape
        (2, 1)
    """
    if not isinstance(classifier, AuxiliaryClassifier) or not classifier.built:
        raise ValueError(
            f"`classifier` must be a built AuxiliaryClassifier. Received: {classifier!r}"
        )
    embedding, rnn = classifier.embedding, classifier.encoder.rnn
    if classifier.vocabulary_size is None:
        inputs = keras.Input((None, classifier.features), name="tokens")
    else:
        inputs = keras.Input((None,), dtype="int32", name="tokens")
    outputs, copies = inputs, []
    if embedding is not None:
        options = {"dtype": embedding.dtype_policy, "name": "embedding"}
        layer = (
            keras.layers.Dense(embedding.units, **options)
            if classifier.vocabulary_size is None
            else keras.layers.Embedding(
                classifier.vocabulary_size, embedding.units, mask_zero=mask_zero, **options
            )
        )
        outputs = layer(outputs)
        copies.append((layer, embedding))
    layer = type(rnn).from_config({**rnn.get_config(), "return_sequences": return_sequences,
                                   "return_state": False})  # fmt: skip
    outputs = layer(outputs)
    copies.append((layer, rnn))
    for copy, original in copies:
        copy.set_weights(original.get_weights())
    model = keras.Model(inputs, outputs, name=name)
    model.trainable = trainable
    return model
