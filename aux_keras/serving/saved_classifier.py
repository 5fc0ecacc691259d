"""An exported model, read back to classify raw data."""

import pathlib

import tensorflow as tf

from aux_keras.models.input_checks import reason


class SavedClassifier:
    """A SavedModel with the functions of `endpoints`.

    Args:
        path: its folder.

    Raises:
        ValueError: if there is none, or it cannot be read, or does not take raw inputs.
    """

    def __init__(self, path):
        if not (pathlib.Path(path) / "saved_model.pb").is_file():
            raise ValueError(
                "`--model` must be the folder of an exported model, such as RUN/saved_model: there "
                f"is no saved_model.pb in {path}"
            )
        try:
            self.loaded = tf.saved_model.load(str(path))
        except Exception as error:  # what a damaged file raises depends on where it is damaged
            line = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"`--model` cannot be read: {path}: {line[0]}") from error
        self.functions = self.loaded.signatures
        if "serve_raw" not in self.functions:
            raise ValueError(
                f"`--model` takes no files: {path} was exported from a model whose `preprocessing` "
                "does not say how raw data becomes tokens"
            )
        (self.kind,) = self.functions["serve_raw"].structured_input_signature[1]
        self.names = [n.decode() for n in self.functions["label_names"]()["names"].numpy()]

    def classify(self, contents):
        """Probabilities, one row for each of a list of bytes.

        Raises:
            ValueError: if one of them cannot be read.
        """
        try:
            answer = self.functions["serve_raw"](**{self.kind: tf.constant(contents, tf.string)})
        except tf.errors.OpError as error:
            raise ValueError(reason(error)) from error
        return answer["probabilities"].numpy()

    def stream(self, chunks):
        """Numbers of characters read so far and their probabilities, after each chunk of text."""
        if self.kind != "texts" or "stream" not in self.functions:
            raise ValueError("`--stream` needs a recurrent model of texts")
        return self._stream(chunks)

    def _stream(self, chunks):
        state = self.functions["initial_state"](batch_size=tf.constant(1))["state"]
        characters = 0
        for chunk in chunks:
            tokens = self.functions["encode"](texts=tf.constant([chunk]))["tokens"]
            answer = self.functions["stream"](tokens=tokens, state=state)
            state, characters = answer["state"], characters + tokens.shape[1]
            yield characters, answer["probabilities"].numpy()[0]
