"""Raises an ImportError, on import, unless Keras runs on TensorFlow."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "aux_keras needs Keras's TensorFlow backend. Set the environment variable "
        f"KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}"
    )
