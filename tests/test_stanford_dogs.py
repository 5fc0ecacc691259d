"""The larger training set of StanfordDogs, on made-up files and on the real test list."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from aux_keras.data import stanford_dogs, tasks
from tests.test_data import DATA

LABELS = ["n02085620-chihuahua", "n02085782-japanese_spaniel"]
REAL = pytest.mark.skipif(
    not (DATA and pathlib.Path(DATA, "stanford_dogs").exists()),
    reason="needs StanfordDogs in $TFDS_DATA_DIR",
)


def make(folder, *names, size=(9, 7)):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((*size, 3), len(name), np.uint8)
        path.write_bytes(tf.io.encode_jpeg(pixels).numpy())


def test_images_of_the_test_list_are_left_out(tmp_path):
    make(tmp_path, "n02085620/n02085620_1.JPEG", "n02085620/n02085620_22.JPEG",
         "n02085620/n02085620_2.JPEG", "n02085782/n02085782_7.JPEG", "n02085782/n02085782_8.jpg",
         "n99999999/n99999999_1.JPEG")  # fmt: skip
    (tmp_path / "n02085620" / "notes.txt").write_text("not an image")
    tested = ["n02085620-Chihuahua/n02085620_2.jpg", "n02085782_8.jpg", "n02085620_3.jpg"]
    paths, labels, left_out = stanford_dogs.larger_training_set(tmp_path, LABELS, tested)
    found = {path.name: int(label) for path, label in zip(paths, labels)}
    assert found == {"n02085620_1.JPEG": 0, "n02085620_22.JPEG": 0, "n02085782_7.JPEG": 1}
    assert left_out == 2
    again = stanford_dogs.larger_training_set(tmp_path, LABELS, tested)
    assert again[0] == paths and again[1].tolist() == labels.tolist()


def test_a_breed_without_images_is_named(tmp_path):
    make(tmp_path, "n02085620/n02085620_1.JPEG")
    with pytest.raises(FileNotFoundError, match="`manual_dir` must have .* in n02085782"):
        stanford_dogs.larger_training_set(tmp_path, LABELS, [])


def test_an_image_that_does_not_decode_is_named(tmp_path):
    make(tmp_path, "a.JPEG")
    (tmp_path / "b.JPEG").write_bytes((tmp_path / "a.JPEG").read_bytes()[:200])
    images = list(stanford_dogs.read([tmp_path / "a.JPEG"], [3]))
    assert images[0][0].shape == (9, 7, 3) and int(images[0][1]) == 3
    with pytest.raises(tf.errors.OpError, match="The image .*b.JPEG cannot be decoded"):
        list(stanford_dogs.read([tmp_path / "b.JPEG"], [3]))


def test_other_tasks_have_no_larger_set(tmp_path):
    from tests.test_data import Stripes, prepare

    prepare(Stripes, tmp_path)
    with pytest.raises(ValueError, match="`manual_dir` is for the tasks stanford_dogs and dbpedia"):
        tasks.load("stripes", seed=0, data_dir=tmp_path, manual_dir=tmp_path)


@REAL
def test_real_dogs_at_a_size():
    task = tasks.load("stanford_dogs", seed=0, image_size=40, train_examples=20, test_examples=4)
    assert (task.time, task.features, task.classes) == (1600, 3, 120)
    x, y = next(iter(task.training(batch_size=8)))
    assert x.shape == (8, 1600, 3) and 0.3 < float(tf.reduce_max(x)) <= 1
    assert sum(len(y) for _, y in task.evaluation("test")) == 4


@REAL
def test_a_larger_training_set_beside_the_real_test_set(tmp_path):
    import tensorflow_datasets as tfds

    builder = tfds.builder("stanford_dogs", data_dir=DATA)
    names = builder.info.features["label"].names
    tested = next(iter(builder.as_dataset(split="test")))["image/filename"].numpy().decode()
    for name in names:
        breed = name.split("-")[0]
        make(tmp_path, f"{breed}/{breed}_0.JPEG")
    stem = pathlib.PurePath(tested).stem
    make(tmp_path, f"{stem.split('_')[0]}/{stem}.JPEG")
    task = tasks.load("stanford_dogs", seed=0, manual_dir=tmp_path, image_size=5)
    assert task.sizes["train"] == 120 and task.sizes["test"] == 1440
    assert task.notes == [f"stanford_dogs train: 120 images of {tmp_path}; 1 others left out, "
                          "which are in the test list"]  # fmt: skip
    assert next(iter(task.training(batch_size=6)))[0].shape == (6, 25, 3)
