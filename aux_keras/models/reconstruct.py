"""What a decoder says of the past from the state at an anchor alone."""

import numpy as np
import tensorflow as tf

from aux_keras.arguments import check_integer
from aux_keras.losses.reconstruction import Reconstruction
from aux_keras.models import input_checks, loss_runs
from aux_keras.scan.windows import states_at


class Reconstructor:
    """Reconstructs what a model has read; compiled once for every length.

    The decoder starts from the state at the anchor and is fed the one true token at which its
    segment begins, the anchor's own where segments are reversed; then it feeds itself what it
    predicts (of characters the most probable one).

    Args:
        model: `AuxiliaryModel`.
        loss: str, name of a `Reconstruction` of it, by default the only one.

    Raises:
        ValueError: if the loss cannot be told.
    """

    def __init__(self, model, loss=None):
        self.model = model
        self.loss = loss_runs.find_loss(model.auxiliary, loss, Reconstruction)
        self.compiled = tf.function(self._run, reduce_retracing=True, autograph=False)

    def __call__(self, inputs, anchors=None, length=None):
        """The tokens before the anchors.

        Args:
            inputs: what the model takes, one batch of arrays.
            anchors: int, or int array `(batch,)` or `(batch, anchors)`: position of the last
                token that the state has read; None for the last one of each sequence.
            length: int, or None for as many as the loss has and the earliest anchor allows.

        Returns:
            `(said, tokens, anchors)`: what is said, the tokens that were read, and the anchors as
            given or chosen. `said` is `(batch, length, features)`, or characters `(batch, length)`,
            with an axis of anchors after `batch` if there is one in `anchors`: the tokens at
            `anchor - length` ... `anchor - 1` in the order of the sequence; one position later
            each if the loss does not reverse.

        Raises:
            ValueError: on anchors or a length outside of the sequences.
        """
        inputs = input_checks.as_tensors(inputs)
        reading = self.model.reading(inputs)
        lengths = reading.lengths.numpy()
        given = lengths - 1 if anchors is None else np.asarray(anchors)
        anchors = check_anchors(given, lengths)
        earliest = int(anchors.min()) if anchors.size else self.loss.segment_length
        if length is None:
            length = min(self.loss.segment_length, earliest)
        if check_integer("length", length, 1) > earliest:
            raise ValueError(
                f"`length` must be at most {earliest}, the earliest anchor. Received: {length=}"
            )
        said = self.compiled(inputs, tf.constant(anchors, tf.int32), length).numpy()
        return said if given.ndim == 2 else said[:, 0], reading.tokens.numpy(), given

    def _run(self, inputs, anchors, length):
        encoder, embedding, tokens, features, _ = self.model.reading(inputs)
        (record,) = states_at(encoder, features, [(anchors + 1, 0)])
        return self.loss.reconstruct(tokens, anchors, length, record, encoder, embedding)


def check_anchors(anchors, lengths):
    """Anchors as `(batch, anchors)`, each inside its sequence and after its first token."""
    rows_fit = anchors.ndim == 0 or anchors.shape[0] == len(lengths)
    if anchors.ndim > 2 or not rows_fit or anchors.dtype.kind not in "iu":
        raise ValueError(
            "`anchors` must be an integer, or integers (batch,) or (batch, anchors). "
            f"Received: {anchors.dtype} of shape {anchors.shape} for a batch of {len(lengths)}"
        )
    if anchors.ndim < 2:
        anchors = np.broadcast_to(anchors, lengths.shape)[:, None]
    if anchors.size and not (anchors.min() >= 1 and np.all(anchors < lengths[:, None])):
        raise ValueError(
            "`anchors` must be from 1 to the last valid token of each sequence. Received: "
            f"{anchors.min()} to {anchors.max()} in sequences of {lengths.min()} tokens or more"
        )
    return anchors
