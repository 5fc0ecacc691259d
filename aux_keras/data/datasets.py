"""Where examples and labels come from: scikit-learn's digits, or TensorFlow Datasets."""

import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

from aux_keras.data import stanford_dogs

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
        name = OWN_TASKS.get(task, task)
        builder = _builder(name, data_dir, download)
        read, sizes, shape, names = _tfds_images(name, builder)
        if manual_dir is not None:
            read, sizes, notes = _larger_dogs(builder, read, sizes, names, manual_dir)
    bounds = split_bounds(sizes, train_examples, test_examples, validation_fraction)
    counts = {name: end - start for name, (_, start, end) in bounds.items()}
    splits = {name: read(*bound) for name, bound in bounds.items() if counts[name]}
    return ImageSets(splits, counts, shape, names, notes)


def documents(name, data_dir=None, manual_dir=None):
    """A set of documents with class labels: how to read it.

    Args:
        name: `dbpedia`.
        data_dir: TFDS folder; by default `$TFDS_DATA_DIR`, then TFDS's own.
        manual_dir: folder of the published files, from which the set is prepared in
            `data_dir` if it is not there.

    Returns:
        `(read, sizes, label_names, notes)`: a function of `(split, start, end)` that returns
        a dataset of `(title, content, label)`; examples by split name; names of the classes;
        what a user should know.

    Raises:
        FileNotFoundError: if it is neither prepared nor can be.
        ValueError: naming the file and row that is not as it should be.
    """
    from aux_keras.data import dbpedia  # registers the builder; imports TFDS

    folder, notes = _folder(data_dir), []
    builder = dbpedia.Dbpedia(data_dir=folder, file_format="tfrecord")
    if builder.is_prepared():
        if manual_dir is not None:
            notes.append(
                f"{name}: prepared before, in {builder.data_path}; --manual_dir is not read"
            )
    else:
        if manual_dir is None:
            raise FileNotFoundError(
                f"The data set `{name}` is not in {folder}. Name the folder that has it with "
                "`--data_dir=DIR`, or the folder of its csv files with `--manual_dir=DIR`."
            )
        try:
            dbpedia.prepare(builder, pathlib.Path(manual_dir).expanduser())
        except OSError:  # another run that began at the same time may have been first
            builder = dbpedia.Dbpedia(data_dir=folder, file_format="tfrecord")
            if not builder.is_prepared():
                raise

    def read(split, start, end):
        dataset = builder.as_dataset(split=f"{split}[{start}:{end}]", read_config=_in_order())
        return dataset.map(lambda row: (row["title"], row["content"], row["label"]))

    sizes = {split: builder.info.splits[split].num_examples for split in ("train", "test")}
    return read, sizes, list(builder.info.features["label"].names), notes


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


def _folder(data_dir):
    import tensorflow_datasets as tfds  # slow to import, and `digits` does without

    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return pathlib.Path(folder).expanduser()


def _in_order():
    import tensorflow_datasets as tfds

    return tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)


def _builder(name, data_dir, download):
    """The builder of a data set that is prepared for TFDS."""
    import tensorflow_datasets as tfds

    folder = _folder(data_dir)
    # Looked for first: TFDS itself would try the network for minutes.
    if not any((folder / name).glob("**/features.json")) and not download:
        _raise_missing(tfds, name, folder)
    builder = tfds.builder(name, data_dir=folder)
    if download:
        builder.download_and_prepare()
    return builder


def _tfds_images(name, builder):
    """Reader, sizes, image shape and label names of a data set."""
    image, label = _features(name, builder.info.features)
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
            split=f"{names[split]}[{start}:{end}]", read_config=_in_order()
        )
        return dataset.map(lambda example: (example[image], example[label]))

    sizes = {ours: splits[theirs].num_examples for ours, theirs in names.items()}
    features = builder.info.features
    return read, sizes, tuple(features[image].shape), list(features[label].names)


def _larger_dogs(builder, read, sizes, label_names, manual_dir):
    """Reader, sizes and notes of StanfordDogs with the training images in `manual_dir`."""
    test = builder.as_dataset(split="test", decoders={"image": _skip_decoding()})
    files = [row["image/filename"].decode() for row in test.as_numpy_iterator()]
    manual_dir = pathlib.Path(manual_dir).expanduser()
    paths, labels, left_out = stanford_dogs.larger_training_set(manual_dir, label_names, files)

    def read_either(split, start, end):
        if split == "test":
            return read(split, start, end)
        return stanford_dogs.read(paths[start:end], labels[start:end])

    note = (
        f"stanford_dogs train: {len(paths)} images of {manual_dir}; {left_out} others left out, "
        "which are in the test list"
    )
    return read_either, {**sizes, "train": len(paths)}, [note]


def _skip_decoding():
    import tensorflow_datasets as tfds

    return tfds.decode.SkipDecoding()


def _raise_missing(tfds, name, folder):
    if name not in tfds.list_builders(with_community_datasets=False):
        raise ValueError(
            "`task` must be digits, mnist, pmnist, cifar10, stanford_dogs, dbpedia, or another "
            "TFDS image classification set. "
            f"Received: task={name!r}, which TFDS does not know and which is not in {folder}"
        )
    raise FileNotFoundError(
        f"The data set `{name}` is not in {folder}. Name the folder that has it with "
        "`--data_dir=DIR`, or let TFDS download it with `--download`."
    )


def _features(name, features):
    """Names of the image and of the label among a data set's features."""
    import tensorflow_datasets as tfds

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
