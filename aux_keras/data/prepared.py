"""Data sets prepared for TensorFlow Datasets: where they lie and how they are read."""

import os
import pathlib
import re

import numpy as np
import tensorflow_datasets as tfds

from aux_keras.data import dbpedia, stanford_dogs

IN_ORDER = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)


def builder(name, data_dir, download):
    """The builder of a data set that is prepared for TFDS.

    Args:
        name: `name`, `name/config`, and either with `:version`, as TFDS has it.
        data_dir, download: see `datasets.images`.

    Raises:
        ValueError: if there is no such data set.
        FileNotFoundError: if it is not on disk and must not be downloaded.
    """
    folder = _folder(data_dir)
    base, *rest = re.split("[/:]", name)  # TFDS's own: name/config:version
    # Looked for first: TFDS itself would try the network for minutes.
    if not any(folder.glob("/".join([base, *rest, "**/features.json"]))) and not download:
        _raise_missing(name, base, folder)
    found = tfds.builder(name, data_dir=folder)
    if download:
        found.download_and_prepare()
    return found


def images(builder):
    """Reader, sizes, image shape and label names of a data set."""
    name, features = builder.name, builder.info.features
    image, label = _features(name, features)
    splits = builder.info.splits
    test = next((s for s in ("test", "validation") if s in splits), None)
    if "train" not in splits or test is None:
        raise ValueError(
            "`task` needs a split `train` and a split `test` or `validation`. Received: "
            f"task={name!r} with the splits {sorted(splits)}"
        )
    names = {"train": "train", "test": test}

    def read(split, start, end):
        dataset = builder.as_dataset(split=f"{names[split]}[{start}:{end}]", read_config=IN_ORDER)
        return dataset.map(lambda example: (example[image], example[label]))

    sizes = {ours: splits[theirs].num_examples for ours, theirs in names.items()}
    return read, sizes, tuple(features[image].shape), list(features[label].names)


def larger_dogs(builder, read, sizes, label_names, manual_dir):
    """Reader, sizes and notes of StanfordDogs with the training images in `manual_dir`."""
    test = builder.as_dataset(split="test", decoders={"image": tfds.decode.SkipDecoding()})
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
    folder, notes = _folder(data_dir), []
    builder = dbpedia.Dbpedia(data_dir=folder, file_format="tfrecord")
    if builder.is_prepared():
        if manual_dir is not None:
            notes.append(
                f"{name}: prepared before, in {builder.data_path}; --manual_dir is not read"
            )
    elif manual_dir is None:
        raise FileNotFoundError(
            f"The data set `{name}` is not in {folder}. Name the folder that has it with "
            "`--data_dir=DIR`, or the folder of its csv files with `--manual_dir=DIR`."
        )
    else:
        builder = _prepare_dbpedia(builder, manual_dir)

    def read(split, start, end):
        dataset = builder.as_dataset(split=f"{split}[{start}:{end}]", read_config=IN_ORDER)
        return dataset.map(lambda row: (row["title"], row["content"], row["label"]))

    sizes = {split: builder.info.splits[split].num_examples for split in ("train", "test")}
    return read, sizes, list(builder.info.features["label"].names), notes


def _prepare_dbpedia(builder, manual_dir):
    """The builder, prepared."""
    try:
        dbpedia.prepare(builder, pathlib.Path(manual_dir).expanduser())
    except OSError:  # another run that began at the same time may have been first
        builder = dbpedia.Dbpedia(data_dir=builder.data_dir_root, file_format="tfrecord")
        if not builder.is_prepared():
            raise
    return builder


def _folder(data_dir):
    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return pathlib.Path(folder).expanduser()


def _raise_missing(name, base, folder):
    if base not in tfds.list_builders(with_community_datasets=False):
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
    if features[image].np_dtype != np.uint8:
        raise ValueError(
            f"`task` must have images of 8 bits. Received: task={name!r}, {features[image]}"
        )
    return image, found[tfds.features.ClassLabel]
