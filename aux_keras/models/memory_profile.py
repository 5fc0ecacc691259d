"""The memory profile: what an RNN remembers, by distance from the anchor."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from aux_keras.models import input_checks, loss_runs
from aux_keras.models.auxiliary_model import AuxiliaryModel
from aux_keras.models.memory_gap import MemoryGap, gaps_of


@dataclasses.dataclass(frozen=True)
class MemoryProfile:
    """Errors of a loss's decoder with the states of the same and of another sequence.

    Attributes:
        loss: str, name of the auxiliary loss.
        distances: `(distances,)` int, time steps from a token to the anchor, in growing order;
            negative after the anchor.
        own: `(distances,)` float, mean TokenLoss with the sequence's own state.
        other: `(distances,)` float, the same with the state of another sequence.
        counts: `(distances,)` int, tokens in either mean.
        gap, gap_error: float, the memory gap over all tokens, and its standard error.
    """

    loss: str
    distances: np.ndarray
    own: np.ndarray
    other: np.ndarray
    counts: np.ndarray
    gap: float
    gap_error: float

    def plot(self, axes=None):
        """Draws both errors by distance; needs matplotlib.

        Args:
            axes: `matplotlib.axes.Axes`; by default of a new figure.

        Returns:
            the axes.
        """
        if axes is None:
            import matplotlib.figure  # an extra, which training does without

            axes = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained").subplots()
        axes.plot(self.distances, self.own, label="state of the sequence itself")
        axes.plot(self.distances, self.other, label="state of another sequence")
        axes.set_xlabel("time steps from the token to the anchor")
        axes.set_ylabel("loss per token")
        axes.set_title(f"{self.loss}: memory gap {self.gap:.4f} ± {self.gap_error:.4f}")
        axes.legend()
        return axes


def memory_profile(model: AuxiliaryModel, inputs: Any, loss: str | None = None) -> MemoryProfile:
    """What the main RNN of a model remembers, measured by one of its auxiliary losses.

    Decoders start from the state of their own sequence, and from that of the sequence before it
    in the batch, at the same anchors. They run free: of a reconstruction only the first token is
    true. Where both errors are equal, the state is of no use.

    Args:
        model: `AuxiliaryClassifier` or `AuxiliaryModel` with auxiliary losses.
        inputs: what the model takes, as arrays, at least two sequences; or a batched
            `tf.data.Dataset` of it, with or without labels.
        loss: str, name of an auxiliary loss; by default the only one.

    Returns:
        `MemoryProfile`.

    Raises:
        ValueError: if the loss cannot be told, or there is no batch of two sequences.

    Example:
        >>> model = AuxiliaryClassifier(
        ...     classes=10, rnn=keras.layers.LSTM(8), supervised_truncation=16,
        ...     classifier_units=8, drop_rate=0.5, auxiliary=[Reconstruction(
        ...         [keras.layers.LSTMCell(8)], num_anchors=1, segment_length=4, truncation=8,
        ...         hidden_units=8, drop_rate=0.5)])
        >>> profile = memory_profile(model, np.random.rand(8, 20, 1))
        >>> profile.distances
        array([1, 2, 3, 4])
    """
    auxiliary = loss_runs.find_loss(model.auxiliary, loss)
    batches = [inputs]
    if isinstance(inputs, tf.data.Dataset):
        labelled = isinstance(inputs.element_spec, tuple)
        batches = inputs.map(lambda x, *_: x) if labelled else inputs

    @tf.function(autograph=False)
    def recalled(batch):
        (recall,) = model.recall(model.reading(batch), [auxiliary])
        segments, steps = recall.draws.segments, tf.shape(recall.own)[-1]
        distances = segments.anchors[..., None] - auxiliary.positions(recall.draws, steps)
        gaps, counted = gaps_of(recall)
        inside = tf.sequence_mask(segments.lengths, steps) & (counted > 0)[:, None, None]
        picked = [tf.boolean_mask(t, inside) for t in (distances, recall.own, recall.other)]
        return picked, (gaps, counted)

    gap, tokens = MemoryGap("gap"), []
    for batch in batches:
        picked, gaps = recalled(input_checks.as_tensors(batch))
        gap.update_state(*gaps)
        tokens.append([np.asarray(part) for part in picked])
    if not tokens or not float(gap.count):
        raise ValueError(
            "`inputs` must hold a batch of at least two sequences, of two tokens or more each. "
            f"Received: {len(tokens)} batches, none of them such"
        )
    distances, own, other = (np.concatenate(parts) for parts in zip(*tokens))
    distances = distances.astype(int)
    found, index, counts = np.unique(distances, return_inverse=True, return_counts=True)
    own, other = (np.bincount(index, losses) / counts for losses in (own, other))
    result = {name: float(value) for name, value in gap.result().items()}
    return MemoryProfile(
        auxiliary.name, found, own, other, counts, result["gap"], result["gap_error"]
    )
