"""Images as sequences of pixels, with `tf.data`.

Order: resize, cache, shuffle, repeat, map, batch, prefetch.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from aux_keras.data import datasets, transforms


@dataclasses.dataclass(frozen=True)
class SequenceTask:
    """A task as sequences: `(tokens, label)` batches of `(time, features)` float32.

    `images` are all of one size, `order` is that of their pixels or None.
    """

    images: datasets.ImageSets
    order: np.ndarray | None
    seed: int

    vocabulary_size = None

    @property
    def time(self):
        return self.shape[0] * self.shape[1]

    @property
    def features(self):
        return self.shape[2]

    @property
    def shape(self):
        """`(height, width, channels)`."""
        return self.images.shape

    @property
    def classes(self):
        return len(self.images.label_names)

    @property
    def sizes(self):
        """Examples by split name."""
        return self.images.sizes

    @property
    def notes(self):
        """What a user should know of the data."""
        return self.images.notes

    def epoch_steps(self, batch_size):
        """The whole number of full batches that is nearest to one pass."""
        if batch_size > self.sizes["train"]:
            raise ValueError(
                "`batch_size` must be at most the number of training examples. Received: "
                f"batch_size={batch_size}, training examples: {self.sizes['train']}"
            )
        return round(self.sizes["train"] / batch_size)

    def preprocessing(self):
        """What a model must be told to read raw images, as JSON values."""
        return {
            "image_shape": list(self.shape),
            "scale": 255,
            "order": None if self.order is None else [int(i) for i in self.order],
            "label_names": list(self.images.label_names),
        }

    def training(self, batch_size, first_step=0):
        """Endless batches of the training split, every epoch in a new order.

        The order is a function of the seed, so that a pipeline that starts at a step
        gives exactly what the unbroken one gives from there on. A batch
        can span two epochs; none is smaller than `batch_size`.

        Args:
            batch_size: int.
            first_step: int, batches to leave out.

        Returns:
            dataset of `(batch_size, time, features)` float32 and `(batch_size,)` labels.
        """
        size = self.sizes["train"]
        examples = self.images.splits["train"].shuffle(size, seed=self.seed).repeat()
        # Skipped while they are still bytes: cheap, even after many epochs.
        examples = examples.skip(first_step * batch_size).map(self._tokens, tf.data.AUTOTUNE)
        batches = examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        return batches.with_options(datasets.UNTUNED)

    def evaluation(self, split):
        """One pass over a split, in its order, the last batch as small as it is."""
        examples = self.images.splits[split].map(self._tokens, tf.data.AUTOTUNE)
        batches = examples.batch(datasets.EVALUATION_BATCH).prefetch(tf.data.AUTOTUNE)
        return batches.with_options(datasets.UNTUNED)

    @tf.autograph.experimental.do_not_convert
    def _tokens(self, image, label):
        tokens = transforms.flatten(image)
        if self.order is not None:
            tokens = transforms.permute(tokens, self.order)
        return transforms.scale(tokens), label


def load_images(task, seed, image_size=None, permutation="random", **options):
    """An image task by its name.

    Args:
        task: see `datasets.images`, which takes the other options too.
        seed: int, of the order of training examples.
        image_size: int, height and width to resize to; None to leave images as they are.
        permutation: of `pmnist`, see `transforms.pixel_order`.

    Returns:
        `SequenceTask`.

    Raises:
        ValueError: if images differ in size and `image_size` does not say which to use.
    """
    images = datasets.images(task, **options)
    if image_size is None and None in images.shape:
        raise ValueError(
            f"`image_size` must be given: the images of {task} differ in size. Received: "
            f"image_size=None"
        )
    images = of_one_size(images, image_size)
    order = None
    if task == "pmnist":
        order = transforms.pixel_order(permutation, images.shape[0] * images.shape[1])
    return SequenceTask(images, order, seed)


def of_one_size(images, size):
    """Image sets resized to `size`, or as they are if it is None, kept once they are read."""
    height, width, channels = images.shape
    shape = (size or height, size or width, channels)

    @tf.autograph.experimental.do_not_convert
    def resize(image, label):
        image = image if size is None else transforms.resize(image, size, size)
        return tf.ensure_shape(image, shape), label

    splits = {n: s.map(resize, tf.data.AUTOTUNE).cache() for n, s in images.splits.items()}
    return dataclasses.replace(images, splits=splits, shape=shape)
