"""What a decoder says of the past from the state at an anchor alone."""

import numpy as np
import tensorflow as tf

from aux_keras.arguments import check_integer
from aux_keras.scan.windows import states_at


def reconstruct(task, reading, anchors, length=None):
    """The tokens before the anchors; see `AuxiliaryModel.reconstruct`.

    The decoder starts from the state at the anchor and is fed the one true token at which its
    segment begins, the anchor's own where segments are reversed; then it feeds itself what it
    predicts (of characters the most probable one).

    Args:
        task: a built `Reconstruction`.
        reading: `Reading` of the batch, of eager tensors.
        anchors: int, or int array `(batch,)` or `(batch, anchors)`: position of the last token
            that the state has read.
        length: int, or None for as many as the loss has and the earliest anchor allows.

    Returns:
        array `(batch, length, features)`, or characters `(batch, length)`, with an axis of
        anchors after `batch` if there is one in `anchors`: the tokens at `anchor - length` ...
        `anchor - 1` in the order of the sequence; one position later each if the loss does not
        reverse.

    Raises:
        ValueError: on anchors or a length outside of the sequences.
    """
    lengths, given = reading.lengths.numpy(), np.asarray(anchors)
    anchors = check_anchors(given, lengths)
    earliest = int(anchors.min()) if anchors.size else task.segment_length
    if length is None:
        length = min(task.segment_length, earliest)
    if check_integer("length", length, 1) > earliest:
        raise ValueError(
            f"`length` must be at most {earliest}, the earliest anchor. Received: {length=}"
        )

    @tf.function
    def run(anchors):
        encoder, embedding, tokens, features, _ = reading
        (record,) = states_at(encoder, features, [(anchors + 1, 0)])
        return task.reconstruct(tokens, anchors, length, record, encoder, embedding)

    tokens = run(tf.constant(anchors, tf.int32)).numpy()
    return tokens if given.ndim == 2 else tokens[:, 0]


def check_anchors(anchors, lengths):
    """Anchors as `(batch, anchors)`, each inside its sequence and after its first token."""
    if anchors.ndim > 2 or anchors.dtype.kind not in "iu":
        raise ValueError(
            "`anchors` must be an integer, or integers (batch,) or (batch, anchors). "
            f"Received: {anchors.dtype} of shape {anchors.shape}"
        )
    if anchors.ndim < 2:
        anchors = np.broadcast_to(anchors, lengths.shape)[:, None]
    if anchors.size and not (anchors.min() >= 1 and np.all(anchors < lengths[:, None])):
        raise ValueError(
            "`anchors` must be from 1 to the last valid token of each sequence. Received: "
            f"{anchors.min()} to {anchors.max()} in sequences of {lengths.min()} tokens or more"
        )
    return anchors
