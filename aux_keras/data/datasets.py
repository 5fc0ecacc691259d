"""Image sets by name, from scikit-learn or TensorFlow Datasets, and their splits."""

import dataclasses

import numpy as np
import tensorflow as tf

EVALUATION_BATCH = 256
# On few cores the end of an iterator may wait for the thread that tunes it, for seconds.
UNTUNED = tf.data.Options()
UNTUNED.autotune.enabled = False
OWN_TASKS = {"pmnist": "mnist"}  # tasks of ours over a data set of another name


@dataclasses.dataclass(frozen=True)
class ImageSets:
    """Non-empty splits of an image classification set: datasets of `(image, label)`.

    Images are `(height, width, channels)` uint8, labels integer scalars; `sizes` counts
    the examples by split name. `shape` has None where images differ. `notes` say what a
    user should know of the data.
    """

    splits: dict[str, tf.data.Dataset]
    sizes: dict[str, int]
    shape: tuple[int | None, int | None, int]
    label_names: list[str]
    notes: list[str]


def images(
    task, data_dir=None, download=False, manual_dir=None, train_examples=None,
    test_examples=None, validation_fraction=0.0,
):  # fmt: skip
    """The splits `train`, `validation` (may be empty) and `test` of an image task.

    Args:
        task: `digits`, or the name of a TFDS image classification set, or `pmnist`.
        data_dir: TFDS folder; by default `$TFDS_DATA_DIR`, then TFDS's own.
        download: bool, whether TFDS may download and prepare what is missing.
        manual_dir: of `stanford_dogs`, folder of ILSVRC-2012 training images that take the
            place of its training set, see `stanford_dogs.larger_training_set`.
        train_examples, test_examples, validation_fraction: see `split_bounds`.

    Returns:
        `ImageSets`.

    Raises:
        ValueError: if there is no such data set, or none of images with class labels.
        FileNotFoundError: if it is not on disk and must not be downloaded.
    """
    notes = []
    if manual_dir is not None and task != "stanford_dogs":
        raise ValueError(
            "`manual_dir` is for the tasks stanford_dogs and dbpedia. Received: "
            f"manual_dir={manual_dir} with task={task}"
        )
    if task == "digits":
        read, sizes, shape, names = _digits()
    else:
        from aux_keras.data import prepared  # slow to import, and `digits` does without

        builder = prepared.builder(OWN_TASKS.get(task, task), data_dir, download)
        read, sizes, shape, names = prepared.images(builder)
        if manual_dir is not None:
            read, sizes, notes = prepared.larger_dogs(builder, read, sizes, names, manual_dir)
    bounds = split_bounds(sizes, train_examples, test_examples, validation_fraction)
    counts = {name: end - start for name, (_, start, end) in bounds.items()}
    splits = {name: read(*bound) for name, bound in bounds.items() if counts[name]}
    return ImageSets(splits, counts, shape, names, notes)


def split_bounds(sizes, train_examples=None, test_examples=None, validation_fraction=0.0):
    """Where the splits lie: `(split of the data set, start, end)` by name.

    The validation split is the last part of the (first `train_examples` of the)
    training set.

    Args:
        sizes: examples of `train` and `test`.
        train_examples, test_examples: int, use the first ones; None for all.
        validation_fraction: float in [0, 1).

    Raises:
        ValueError: if no training example is left.
    """
    total = min(train_examples or sizes["train"], sizes["train"])
    held_out = int(round(total * validation_fraction))
    if held_out >= total:
        raise ValueError(
            "`validation_fraction` leaves no training example. Received: "
            f"validation_fraction={validation_fraction} of {total} examples"
        )
    return {
        "train": ("train", 0, total - held_out),
        "validation": ("train", total - held_out, total),
        "test": ("test", 0, min(test_examples or sizes["test"], sizes["test"])),
    }


def _digits():
    """scikit-learn's 1797 digits, 8 x 8: every fifth one, from the first on, is test."""
    import sklearn.datasets  # only this task needs it

    data = sklearn.datasets.load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    is_test = np.arange(len(images)) % 5 == 0
    arrays = {"train": (images[~is_test], data.target[~is_test]),
              "test": (images[is_test], data.target[is_test])}  # fmt: skip

    def read(split, start, end):
        image, label = arrays[split]
        return tf.data.Dataset.from_tensor_slices((image[start:end], label[start:end]))

    sizes = {name: len(labels) for name, (_, labels) in arrays.items()}
    return read, sizes, (8, 8, 1), [str(digit) for digit in range(10)]
