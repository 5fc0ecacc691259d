"""Where images and labels come from: scikit-learn's digits, or TensorFlow Datasets."""

import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

OWN_TASKS = {"pmnist": "mnist"}  # tasks of ours over a data set of another name


@dataclasses.dataclass(frozen=True)
class ImageSets:
    """Non-empty splits of an image classification set: datasets of `(image, label)`.

    Images are `(height, width, channels)` uint8, labels integer scalars; `sizes` counts
    the examples by split name. `shape` has None where images differ.
    """

    splits: dict[str, tf.data.Dataset]
    sizes: dict[str, int]
    shape: tuple[int | None, int | None, int]
    label_names: list[str]


def load(task, data_dir=None, download=False, train_examples=None, validation_fraction=0.0):
    """The splits `train`, `validation` (may be empty) and `test` of a task.

    The validation split is the last part of the (first `train_examples` of the)
    training set.

    Args:
        task: `digits`, or the name of a TFDS image classification set, or `pmnist`.
        data_dir: TFDS folder; by default `$TFDS_DATA_DIR`, then TFDS's own.
        download: bool, whether TFDS may download and prepare what is missing.
        train_examples: int, or None for all.
        validation_fraction: float in [0, 1).

    Returns:
        `ImageSets`.

    Raises:
        ValueError: if there is no such data set, or none of images with class labels.
        FileNotFoundError: if it is not on disk and must not be downloaded.
    """
    if task == "digits":
        read, sizes, shape, names = _digits()
    else:
        read, sizes, shape, names = _tfds(OWN_TASKS.get(task, task), data_dir, download)
    total = min(train_examples or sizes["train"], sizes["train"])
    held_out = int(round(total * validation_fraction))
    bounds = {
        "train": ("train", 0, total - held_out),
        "validation": ("train", total - held_out, total),
        "test": ("test", 0, sizes["test"]),
    }
    if held_out >= total:
        raise ValueError(
            "`validation_fraction` leaves no training example. Received: "
            f"validation_fraction={validation_fraction} of {total} examples"
        )
    counts = {name: end - start for name, (_, start, end) in bounds.items()}
    splits = {name: read(*bound) for name, bound in bounds.items() if counts[name]}
    return ImageSets(splits, counts, shape, names)


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


def _tfds(name, data_dir, download):
    """Reader, sizes, image shape and label names of a data set prepared for TFDS."""
    import tensorflow_datasets as tfds  # slow to import, and `digits` does without

    folder = pathlib.Path(
        data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    )
    folder = folder.expanduser()
    # Looked for first: TFDS itself would try the network for minutes.
    if not any((folder / name).glob("**/features.json")) and not download:
        _raise_missing(tfds, name, folder)
    builder = tfds.builder(name, data_dir=folder)
    if download:
        builder.download_and_prepare()
    image, label = _features(tfds, name, builder.info.features)
    splits = builder.info.splits
    test = next((s for s in ("test", "validation") if s in splits), None)
    if "train" not in splits or test is None:
        raise ValueError(
            "`task` needs a split `train` and a split `test` or `validation`. Received: "
            f"task={name!r} with the splits {sorted(splits)}"
        )
    names = {"train": "train", "test": test}

    def read(split, start, end):
        dataset = builder.as_dataset(
            split=f"{names[split]}[{start}:{end}]",
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        return dataset.map(lambda example: (example[image], example[label]))

    sizes = {ours: splits[theirs].num_examples for ours, theirs in names.items()}
    features = builder.info.features
    return read, sizes, tuple(features[image].shape), list(features[label].names)


def _raise_missing(tfds, name, folder):
    if name not in tfds.list_builders(with_community_datasets=False):
        raise ValueError(
            "`task` must be digits, mnist, pmnist, cifar10, or a TFDS image classification set. "
            f"Received: task={name!r}, which TFDS does not know and which is not in {folder}"
        )
    raise FileNotFoundError(
        f"The data set `{name}` is not in {folder}. Name the folder that has it with "
        "`--data_dir=DIR`, or let TFDS download it with `--download`."
    )


def _features(tfds, name, features):
    """Names of the image and of the label among a data set's features."""
    found = {}
    for kind in (tfds.features.Image, tfds.features.ClassLabel):
        names = [key for key, feature in features.items() if isinstance(feature, kind)]
        if not names:
            raise ValueError(
                "`task` must be a data set of images with class labels. Received: "
                f"task={name!r} with the features {sorted(features)}"
            )
        found[kind] = kind.__name__.lower() if kind.__name__.lower() in names else names[0]
    image = found[tfds.features.Image]
    if features[image].dtype != np.uint8:
        raise ValueError(
            f"`task` must have images of 8 bits. Received: task={name!r}, {features[image]}"
        )
    return image, found[tfds.features.ClassLabel]
