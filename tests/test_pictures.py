"""What a network has learnt, as pictures: the right pixels in the right places."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.pictures import report
from aux_keras.pictures.reconstructions import Reconstructions
from aux_keras.training import pictures
from tests.conftest import set_seed


def build(vocabulary_size=None, preprocessing=None, reverse=True):
    set_seed(0)
    loss = ak.Reconstruction(segment_length=4, truncation=3, hidden_units=4, reverse=reverse)
    return ak.AuxiliaryClassifier(
        2, keras.layers.LSTM(4), 3, 4, 0.0, ak.TokenEmbedding(3, vocabulary_size), [loss],
        preprocessing=preprocessing,
    )  # fmt: skip


class Task:
    """Sequences of characters as a run has them."""

    sizes = {"validation": 2}
    batch = {
        "tokens": np.array([[1, 2, 2, 1, 3, 2, 0, 0], [2, 1, 1, 1, 2, 2, 1, 1]]),
        "lengths": np.array([6, 8], "int32"),
    }

    @staticmethod
    def evaluation(split):
        return tf.data.Dataset.from_tensor_slices((Task.batch, [0, 1])).batch(2)


@pytest.fixture(scope="module")
def characters():
    return build(vocabulary_size=4, preprocessing={"alphabet": "ab"})


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).random((2, 12, 1)).astype("float32")


@pytest.mark.parametrize("reverse", [True, False])
def test_what_is_said_lies_beside_the_truth(x, reverse):
    """At the positions that `reconstruct` documents; anchors are the last tokens by default."""
    model = build(reverse=reverse)
    found = ak.reconstructions(model, x, anchors=np.array([7, 9]))
    np.testing.assert_array_equal(found.said, model.reconstruct(x, np.array([7, 9])))
    for row, anchor in enumerate((7, 9)):
        first = anchor - 4 if reverse else anchor - 3
        assert found.first[row] == first
        np.testing.assert_array_equal(found.truth[row], x[row, first : first + 4])
    assert list(ak.reconstructions(model, x).anchors) == [11, 11]


def test_pixels_are_drawn_where_they_were_in_the_image():
    """Of a permuted 3 x 2 image with three channels, read until its fourth pixel."""
    image = np.arange(18).reshape(3, 2, 3) / 17
    order = np.array([5, 0, 3, 1, 4, 2])
    tokens = image.reshape(6, 3)[order][None]
    found = Reconstructions(
        "r", tokens, np.array([3]), np.array([1]), np.full((1, 2, 3), 2.0),
        {"image_shape": [3, 2, 3], "order": list(order)},
    )  # fmt: skip
    read, truth, said = (images[0] for images in found.images())
    for time, place in enumerate(order):
        at = divmod(place, 2)
        unread = np.full(3, 0.85)
        np.testing.assert_allclose(read[at], image[at] if time <= 3 else unread)
        np.testing.assert_allclose(truth[at], image[at] if time in (1, 2) else unread)
        np.testing.assert_allclose(said[at], np.ones(3) if time in (1, 2) else unread)  # clipped
    assert len(found.plot().axes) == 3


def test_series_are_drawn_with_what_is_said_after_its_first_step(x):
    found = ak.reconstructions(build(), x, anchors=8)
    for index, axes in enumerate(found.plot().axes):
        series, said = axes.lines[:2]
        np.testing.assert_array_equal(series.get_ydata(), x[index, :, 0])
        np.testing.assert_array_equal(said.get_xdata(), [4, 5, 6, 7])
        np.testing.assert_array_equal(said.get_ydata(), found.said[index, :, 0])


def test_characters_are_drawn_as_text(characters):
    """Two of an alphabet of two, and one that is in none; padding is not read."""
    x = Task.batch
    found = ak.reconstructions(characters, x, anchors=5, length=3)
    lines = found.text().splitlines()
    assert lines[0] == "read  abba·b" and lines[1] == "truth ba·" and lines[3] == ""
    assert re.fullmatch("said  [ab·]{3}", lines[2])
    assert found.text() in found.plot().texts[0].get_text()
    dollars = dataclasses.replace(found, layout={"alphabet": "$$"})  # no formula of matplotlib's
    assert report.as_png(dollars.plot())
    assert found.text(width=2).startswith("read  ·b\n")
    assert list(ak.reconstructions(characters, x).anchors) == [5, 7]


def test_the_longest_documents_are_shown_and_none_of_one_character():
    class Short:
        sizes = {"validation": 0}

        def __init__(self, *lengths):
            self.lengths = lengths

        def evaluation(self, split):
            assert split == "train"
            x = {"tokens": np.ones((len(self.lengths), 9)), "lengths": np.array(self.lengths)}
            return tf.data.Dataset.from_tensors((x, np.zeros(len(self.lengths))))

    assert list(pictures.seen(Short(1, 9, 2, 8, 7, 1, 6, 5, 4))["lengths"]) == [9, 8, 7, 6, 5, 4]
    assert list(pictures.seen(Short(1, 2, 1))["lengths"]) == [2]
    assert pictures.seen(Short(1, 1)) is None


def test_matplotlib_is_asked_for_before_a_run(monkeypatch):
    monkeypatch.setattr(pictures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="`pictures` must be false without matplotlib"):
        pictures.check()


def test_confusion_counts_examples():
    figure = report.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), ["a", "b", "c"])
    (axes,) = figure.axes
    cells = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (0, 2): "1"}
    np.testing.assert_allclose(axes.images[0].get_array()[0], [0.5, 0.5, 0])


def test_tensorboard_shows_reconstructions_after_a_validation(characters, tmp_path):
    log = pictures.ReconstructionLog(tmp_path, characters, Task)
    log.on_epoch_end(0, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
    log.on_epoch_end(1, {"loss": 1.0, "val_loss": 1.0})
    (events,) = tmp_path.iterdir()
    shown = [
        (value.tag, value.tensor.string_val[0].decode(), event.step)
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    text = ak.reconstructions(characters, pictures.seen(Task)).text()
    assert shown == [("reconstruction", "".join(f"    {t}\n" for t in text.splitlines()), 1)]


def test_the_page_of_a_run_stands_alone():
    rows = [
        {"phase": "pretrain", "epoch": 1, "step": 1, "loss": 2.0, "val_loss": 1.5, "seconds": 1},
        {"phase": "train", "epoch": 1, "step": 1, "loss": 1.0, "accuracy": None, "seconds": 1},
    ]
    result = {"test_accuracy": 0.5, "versions": {"keras": "3"}, "task": "<digits>"}
    page = report.page(
        "A <run>", result, [("Curves", report.as_png(report.curves(rows)))], "--units=<4>\n"
    )
    assert "<h1>A &lt;run&gt;</h1>" in page and "--units=&lt;4&gt;" in page
    assert "<th>test accuracy </th><td>0.5000</td>" in page and "&lt;digits&gt;" in page
    assert re.findall(r'(?:src|href)="([^"]{10})', page) == ["data:image"]
