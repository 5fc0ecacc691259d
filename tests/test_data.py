"""Transforms, data sets and the pipeline."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from aux_keras.data import datasets, tasks, transforms

DATA = os.environ.get("TFDS_DATA_DIR")
REAL = pytest.mark.skipif(
    not (DATA and pathlib.Path(DATA, "mnist").exists()), reason="needs MNIST in $TFDS_DATA_DIR"
)


def everywhere(function, *arguments):
    """The result of a transform, the same eagerly and inside `tf.data`."""
    eager = function(*arguments)
    dataset = tf.data.Dataset.from_tensors(arguments[0]).map(lambda x: function(x, *arguments[1:]))
    np.testing.assert_array_equal(next(iter(dataset)), eager)
    return np.asarray(eager)


def test_flatten_and_scale():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    flat = everywhere(transforms.flatten, tf.constant(image))
    assert flat.shape == (8, 3)
    assert flat[5].tolist() == image[1, 1].tolist()  # row by row
    scaled = everywhere(transforms.scale, tf.constant(np.array([0, 51, 255], np.uint8)))
    np.testing.assert_allclose(scaled, [0, 0.2, 1], rtol=1e-6)


def test_resize_averages():
    image = np.zeros((4, 4, 1), np.uint8)
    image[:, 2:] = 200
    resized = everywhere(transforms.resize, tf.constant(image), 1, 2)
    assert resized.shape == (1, 2, 1) and resized.dtype == np.uint8
    assert resized[0, 0, 0] < 60 and resized[0, 1, 0] > 140
    assert np.all(transforms.resize(np.full((5, 7, 3), 77, np.uint8), 3, 3) == 77)


@pytest.mark.parametrize("kind", ["random", "bit_reversal"])
def test_pixel_orders_are_permutations(kind):
    order = transforms.pixel_order(kind, 784)
    assert sorted(order) == list(range(784))
    tokens = tf.range(784)[:, None]
    assert everywhere(transforms.permute, tokens, order)[:, 0].tolist() == order.tolist()


def test_pixel_orders_are_the_documented_ones():
    expected = np.random.RandomState(92916).permutation(784)
    assert transforms.pixel_order("random", 784).tolist() == expected.tolist()
    assert transforms.pixel_order("bit_reversal", 8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_digits_are_scikit_learns():
    import sklearn.datasets

    data = sklearn.datasets.load_digits()
    task = tasks.load("digits", seed=0)
    assert (task.time, task.features, task.classes) == (64, 1, 10)
    assert task.sizes == {"train": 1437, "validation": 0, "test": 360}
    x, y = next(iter(task.evaluation("test")))
    np.testing.assert_allclose(x[1, :, 0], data.images[5].ravel() / 16, atol=1 / 500)
    assert y.numpy().tolist() == data.target[::5][:256].tolist()


def test_validation_is_the_end_of_the_first_training_examples():
    whole = tasks.load("digits", seed=0)
    part = tasks.load("digits", seed=0, train_examples=100, validation_fraction=0.2)
    assert part.sizes == {"train": 80, "validation": 20, "test": 360}
    labels = [int(y) for _, y in whole.images.splits["train"].take(100)]
    assert [int(y) for _, y in part.images.splits["train"]] == labels[:80]
    assert [int(y) for _, y in part.images.splits["validation"]] == labels[80:]


def batches(task, count, first_step=0):
    dataset = task.training(batch_size=32, first_step=first_step).take(count)
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def test_training_batches_resume_exactly():
    task = tasks.load("digits", seed=3, train_examples=100)
    unbroken = batches(task, 12)
    resumed = batches(tasks.load("digits", seed=3, train_examples=100), 5, first_step=7)
    for one, other in zip(unbroken[7:], resumed):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_an_epoch_has_every_example_once_and_the_next_another_order():
    task = tasks.load("digits", seed=3, train_examples=96)
    seen = [x.tobytes() for x, _ in [(x, y) for b in batches(task, 6) for x, y in zip(*b)]]
    wanted = sorted(x.numpy().tobytes() for batch, _ in task.evaluation("train") for x in batch)
    first, second = seen[:96], seen[96:]
    assert sorted(first) == sorted(second) == wanted and first != second
    other = tasks.load("digits", seed=4, train_examples=96)
    assert [x.tobytes() for x in batches(other, 1)[0][0]] != seen[:32]


def test_a_batch_larger_than_the_training_set_is_refused():
    task = tasks.load("digits", seed=0, train_examples=10)
    assert task.epoch_steps(10) == 1
    with pytest.raises(ValueError, match="`batch_size` must be at most .* training examples: 10"):
        task.epoch_steps(11)


def test_images_are_resized_once(monkeypatch):
    resize, calls = transforms.resize, []

    def counted(image, *size):
        tf.numpy_function(lambda: calls.append(1) or np.int64(0), [], tf.int64)
        return resize(image, *size)

    monkeypatch.setattr(transforms, "resize", counted)
    task = tasks.load("digits", seed=0, image_size=4, train_examples=10)
    for _ in range(2):
        batches_of_ten = task.training(batch_size=10, first_step=0).take(3)
        assert len(list(batches_of_ten)) == 3
    assert len(calls) == 10


def test_digits_have_no_manual_dir(tmp_path):
    with pytest.raises(ValueError, match="`manual_dir` is for the tasks stanford_dogs and dbpedia"):
        tasks.load("digits", seed=0, manual_dir=tmp_path)


def test_evaluation_keeps_the_remainder():
    task = tasks.load("digits", seed=0)
    assert [len(y) for _, y in task.evaluation("test")] == [256, 104]


@REAL
@pytest.mark.parametrize(
    ("name", "time", "features", "sizes"),
    [("mnist", 784, 1, (60000, 10000)), ("pmnist", 784, 1, (60000, 10000)),
     ("cifar10", 1024, 3, (50000, 10000))],
)  # fmt: skip
def test_real_data(name, time, features, sizes):
    task = tasks.load(name, seed=0)
    assert (task.time, task.features, task.classes) == (time, features, 10)
    assert (task.sizes["train"], task.images.sizes["test"]) == sizes
    x, y = next(iter(task.training(batch_size=8)))
    assert x.shape == (8, time, features) and x.dtype == tf.float32
    assert 0 <= float(tf.reduce_min(x)) and 0.5 < float(tf.reduce_max(x)) <= 1


@REAL
def test_permuted_mnist_is_mnist_permuted():
    plain, permuted = (
        next(iter(tasks.load(name, seed=0).evaluation("test")))[0].numpy()
        for name in ("mnist", "pmnist")
    )
    order = np.random.RandomState(92916).permutation(784)
    np.testing.assert_array_equal(permuted, plain[:, order])


@REAL
def test_real_images_resized():
    task = tasks.load("mnist", seed=0, image_size=14, train_examples=64)
    x, _ = next(iter(task.training(batch_size=4)))
    assert x.shape == (4, 196, 1)


class Stripes(tfds.core.GeneratorBasedBuilder):
    """A set that no flagfile names: 5 x 7 images of 2 classes, with other features too."""

    VERSION = tfds.core.Version("1.0.0")
    shape = (5, 7, 3)

    def _info(self):
        features = {
            "picture": tfds.features.Image(shape=self.shape),
            "kind": tfds.features.ClassLabel(names=["flat", "tall"]),
            "note": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

    def _generate_examples(self, count):
        for i in range(count):
            picture = np.full(tuple(d or 4 + i % 2 for d in self.shape), 10 * i, np.uint8)
            yield i, {"picture": picture, "kind": i % 2, "note": str(i)}


class Ragged(Stripes):
    """The same with images of different sizes."""

    shape = (None, None, 1)


def prepare(builder, folder):
    builder(data_dir=folder, file_format="tfrecord").download_and_prepare()


def test_any_image_set_prepared_for_tfds(tmp_path):
    prepare(Stripes, tmp_path)
    task = tasks.load("stripes", seed=0, data_dir=tmp_path)
    assert (task.time, task.features, task.classes) == (35, 3, 2)
    assert task.preprocessing()["label_names"] == ["flat", "tall"]
    x, y = next(iter(task.evaluation("test")))
    assert x.shape == (6, 35, 3)
    numbers = [round(float(v) * 25.5) for v in x[:, 0, 0]]  # TFDS has its own order
    assert sorted(numbers) == [0, 1, 2, 3, 4, 5]
    assert y.numpy().tolist() == [n % 2 for n in numbers]


def test_images_of_different_sizes_need_a_size(tmp_path):
    prepare(Ragged, tmp_path)
    with pytest.raises(ValueError, match="`image_size` must be given"):
        tasks.load("ragged", seed=0, data_dir=tmp_path)
    task = tasks.load("ragged", seed=0, data_dir=tmp_path, image_size=6)
    assert next(iter(task.training(batch_size=2)))[0].shape == (2, 36, 1)


def test_data_that_is_not_on_disk_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"`mnist` is not in {tmp_path}.*--download"):
        datasets.images("pmnist", data_dir=tmp_path)


def test_a_task_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="`task` must be .* Received: task='nmist'"):
        datasets.images("nmist", data_dir=tmp_path)


def test_no_training_example_left_is_named():
    with pytest.raises(ValueError, match="`validation_fraction` leaves no"):
        datasets.images("digits", train_examples=2, validation_fraction=0.9)
