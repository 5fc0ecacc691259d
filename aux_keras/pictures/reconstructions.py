"""Reconstructions as pictures: what a decoder says of the past, beside the truth."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from aux_keras.models import reconstruct
from aux_keras.models.auxiliary_model import AuxiliaryModel

LAST_READ = 140  # characters in a line of a picture
UNREAD = 0.85  # grey of what the RNN has not read, or what no segment covers


@dataclasses.dataclass(frozen=True)
class Reconstructions:
    """What a decoder says of some sequences from the state at an anchor, and what was there.

    Attributes:
        loss: str, name of the auxiliary loss.
        tokens: `(batch, time, features)` real tokens, or `(batch, time)` characters.
        anchors: `(batch,)` int, position of the last token that each state has read.
        first: `(batch,)` int, position of the first token that is reconstructed.
        said: `(batch, length, features)`, or `(batch, length)`.
        layout: dict; `image_shape` and `order` if tokens are pixels, `alphabet` if they are
            characters of one.
    """

    loss: str
    tokens: np.ndarray
    anchors: np.ndarray
    first: np.ndarray
    said: np.ndarray
    layout: dict

    @property
    def truth(self):
        """The tokens that were to be reconstructed, in the shape of `said`."""
        steps = self.first[:, None] + np.arange(self.said.shape[1])
        return self.tokens[np.arange(len(steps))[:, None], steps]

    def text(self, width=None):
        """Three lines per sequence of characters: what was read, the truth, what is said.

        Args:
            width: int, how many characters to show of what was read, the last ones; None: all.
        """
        alphabet = self.layout.get("alphabet")
        lines = []
        for read, anchor, truth, said in zip(self.tokens, self.anchors, self.truth, self.said):
            read = read[max(0, anchor + 1 - (width or anchor + 1)) : anchor + 1]
            parts = {"read": read, "truth": truth, "said": said}
            lines += [f"{name:5} {in_words(part, alphabet)}" for name, part in parts.items()]
            lines.append("")
        return "\n".join(lines)

    def plot(self):
        """A `matplotlib.figure.Figure`: images, lines over time, or text; a row per sequence."""
        from matplotlib.figure import Figure

        rows = len(self.tokens)
        if self.tokens.ndim == 2:
            figure = Figure(figsize=(10, 0.8 * rows + 0.4))
            lines = self.text(LAST_READ)
            figure.text(0.01, 0.5, lines, family="monospace", size=7, va="center", parse_math=False)
        elif "image_shape" in self.layout:
            figure = Figure(figsize=(4.8, 1.6 * rows + 0.4), layout="constrained")
            axes = figure.subplots(rows, 3, squeeze=False)
            for index, panels in enumerate(zip(*self.images())):
                for each, panel in zip(axes[index], panels):
                    each.imshow(panel, vmin=0, vmax=1, cmap="gray", interpolation="nearest")
                    each.set_axis_off()
            for each, title in zip(axes[0], ("read until the anchor", "truth", self.loss)):
                each.set_title(title, size=9)
        else:
            figure = Figure(figsize=(8, 1.8 * rows + 0.4), layout="constrained")
            for index, axes in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
                self.plot_series(axes, index)
        return figure

    def images(self):
        """`(read, truth, said)`: an image `(height, width[, 3])` each per sequence, in [0, 1]."""
        read, truth, said = (np.full(self.tokens.shape, UNREAD) for _ in range(3))
        for index, (anchor, first) in enumerate(zip(self.anchors, self.first)):
            segment = slice(first, first + self.said.shape[1])
            read[index, : anchor + 1] = self.tokens[index, : anchor + 1]
            truth[index, segment] = self.truth[index]
            said[index, segment] = np.clip(self.said[index], 0, 1)
        return tuple(map(self.as_images, (read, truth, said)))

    def as_images(self, tokens):
        """Sequences of pixels as images; of one channel without an axis for it."""
        order = self.layout.get("order")
        if order is not None:
            tokens = tokens[:, np.argsort(order)]
        images = tokens.reshape(len(tokens), *self.layout["image_shape"])
        return images[..., 0] if images.shape[-1] == 1 else images

    def plot_series(self, axes, index):
        """Draws one sequence of real tokens over time: dashed is what the decoder says."""
        anchor, first = self.anchors[index], self.first[index]
        steps = np.arange(first, first + self.said.shape[1])
        for feature in range(self.tokens.shape[2]):
            (line,) = axes.plot(self.tokens[index, :, feature], linewidth=0.8)
            axes.plot(steps, self.said[index, :, feature], "--", color=line.get_color())
        axes.axvline(anchor, color="black", linewidth=0.8)
        axes.axvspan(first, steps[-1], color=str(UNREAD), zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        if index == 0:
            axes.set_title(f"{self.loss}: dashed, from the state at the black line", size=9)


def in_words(characters, alphabet):
    """Characters as text; those outside of an alphabet, or without one, as `·`."""
    known = dict(enumerate(alphabet or "", start=1))
    return "".join(known.get(int(c), "·") for c in characters).replace("\n", "↵")


def reconstructions(
    model: AuxiliaryModel, inputs: Any, anchors: Any = None, loss: str | None = None,
    length: int | None = None, image_shape: Sequence[int] | None = None, order: Any = None,
    alphabet: str | None = None,
) -> Reconstructions:  # fmt: skip
    """What a decoder reconstructs of some sequences, ready to be drawn.

    Args:
        model: `AuxiliaryClassifier` or `AuxiliaryModel` with a `Reconstruction`.
        inputs: what the model takes, a batch of arrays.
        anchors: int, or `(batch,)` int, the last token that a state has read; by default the last
            one of each sequence.
        loss: str, name of the `Reconstruction`, by default the only one.
        length: int, tokens before the anchor; by default as many as the loss has, or as the
            shortest sequence allows.
        image_shape: `(height, width, channels)` of tokens that are pixels in [0, 1]; by default
            the model's own `preprocessing`, as of `order` and `alphabet`.
        order: list of int, positions in the image of the pixels of a sequence.
        alphabet: str, characters from 1 on.

    Returns:
        `Reconstructions`.

    Example:
        >>> loss = Reconstruction(segment_length=6, truncation=8, hidden_units=8)
        >>> model = AuxiliaryClassifier(
        ...     classes=2, rnn=keras.layers.LSTM(8), supervised_truncation=8, classifier_units=8,
        ...     drop_rate=0.0, auxiliary=[loss])
        >>> found = reconstructions(model, np.random.rand(3, 20, 1), anchors=15)
        >>> found.said.shape, found.first
        ((3, 6, 1), array([9, 9, 9]))
        >>> figure = found.plot()
    """
    given = {"image_shape": image_shape, "order": order, "alphabet": alphabet}
    return Reconstructed(model, loss, **given)(inputs, anchors, length)


class Reconstructed:
    """`reconstructions` of one model again and again, compiled once; arguments as there."""

    def __init__(self, model, loss=None, **layout):
        self.run = reconstruct.Reconstructor(model, loss)
        self.layout = dict(getattr(model, "preprocessing", None) or {})
        self.layout |= {name: value for name, value in layout.items() if value is not None}

    def __call__(self, inputs, anchors=None, length=None):
        said, tokens, anchors = self.run(inputs, anchors, length)
        anchors = np.broadcast_to(anchors, len(tokens))
        first = anchors - said.shape[1] + (0 if self.run.loss.reverse else 1)
        name = self.run.loss.name
        return Reconstructions(name, tokens, anchors, first, said, self.layout)
