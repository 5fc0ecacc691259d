"""What a run leaves for others, on real data: raw files get the labels that were evaluated."""

import dataclasses
import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.data import prepared, tasks
from aux_keras.training import loop
from tests import processes, test_config
from tests.test_training import REAL, ROOT


def run(name, workdir, **overrides):
    """A short run of a flagfile: its result and its model."""
    config = test_config.read(ROOT / "configs" / f"{name}.cfg")
    overrides = test_config.read_by(config.method, workdir=str(workdir), **overrides)
    result = loop.run(dataclasses.replace(config, **overrides))
    return result, keras.models.load_model(workdir / "model.keras")


def exported(workdir):
    return tf.saved_model.load(str(workdir / "saved_model"))


SHORT = dict(units=32, embedding_units=16, classifier_units=32, decoder_units=16, batch_size=16)


@REAL
@pytest.mark.parametrize("name", ["mnist_lstm_300", "pmnist_transformer"])
def test_raw_mnist_gets_the_labels_that_evaluate_counted(name, tmp_path):
    """The PNG files of the data set, 28 x 28; the models read 14 x 14, one of them permuted."""
    import tensorflow_datasets as tfds

    options = {**SHORT, "embedding_units": 32}
    if name.endswith("300"):
        options |= dict(supervised_truncation=60, learning_rate=0.01)
    else:
        options |= dict(warmup_steps=20, units=64, embedding_units=64, learning_rate=0.001,
                        transformer_layers=2)  # fmt: skip
    result, model = run(name, tmp_path, image_size=14, train_examples=1000, test_examples=200,
                        epochs=2, **options)  # fmt: skip
    served = exported(tmp_path)
    encoded = tfds.builder("mnist").as_dataset(
        split="test[:200]", decoders={"image": tfds.decode.SkipDecoding()}
    )
    rows = sorted(  # in an order of its own: compared by content below
        (row["image"], int(row["label"])) for row in encoded.as_numpy_iterator()
    )
    files, labels = zip(*rows)
    assert files[0].startswith(b"\x89PNG")
    answer = served.serve_raw(tf.constant(files))
    correct = np.mean(answer["labels"].numpy() == labels)
    np.testing.assert_allclose(correct, result["test_accuracy"], rtol=1e-6)
    assert len(set(answer["labels"].numpy())) > 2  # not one answer for all
    names = [int(name) for name in answer["names"].numpy()]
    np.testing.assert_array_equal(names, answer["labels"])
    task = tasks.load(name.split("_")[0], seed=0, image_size=14, test_examples=200)
    x = np.concatenate([tokens for tokens, _ in task.evaluation("test")])
    wanted = np.sort(model.predict(x, verbose=0), axis=0)
    np.testing.assert_allclose(np.sort(answer["probabilities"], axis=0), wanted, atol=1e-6)


@REAL
def test_raw_dbpedia_gets_the_labels_that_evaluate_counted(tmp_path):
    csv_dir = pathlib.Path(os.environ["TFDS_DATA_DIR"]).parent / "dbpedia"
    result, _ = run(
        "dbpedia_lstm_full", tmp_path / "run", **SHORT, data_dir=str(tmp_path / "tfds"),
        manual_dir=str(csv_dir), train_examples=640, test_examples=150, steps=80,
        learning_rate=0.01, bucket_lengths="50,100,200", supervised_truncation=50,
    )  # fmt: skip
    served = exported(tmp_path / "run")
    read, *_ = prepared.documents("dbpedia", data_dir=tmp_path / "tfds")
    titles, contents, labels = zip(*read("test", 0, 150).as_numpy_iterator())
    texts = [title + b" " + content for title, content in zip(titles, contents)]
    answer = served.serve_raw(tf.constant(texts))
    np.testing.assert_allclose(
        np.mean(answer["labels"].numpy() == np.array(labels)), result["test_accuracy"], rtol=1e-6
    )
    assert len(set(answer["labels"].numpy())) > 2
    assert b"Company" in served.label_names()["names"].numpy()


def test_pretraining_alone_leaves_an_encoder(tmp_path):
    """A run without labels; its RNN as a plain Keras model, and all of it exported by command."""
    _, model = run("digits_r", tmp_path / "run", **SHORT, pretrain_steps=3, epochs=0)
    assert exported(tmp_path / "run").signatures
    encoder = ak.feature_extractor(model)
    x = np.random.default_rng(0).random((3, 64, 1), "float32")
    np.testing.assert_allclose(encoder.predict(x, verbose=0), model.encoder(x), atol=1e-6)
    export = ["-m", "aux_keras", "export", f"--output={tmp_path / 'served'}"]
    done = processes.run(*export, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    served = tf.saved_model.load(str(tmp_path / "served"))
    answer = served.serve(x, np.full(3, 64, "int32"))["probabilities"]
    np.testing.assert_allclose(answer, model.predict(x, verbose=0), atol=1e-6)
    again = processes.run(*export, f"--workdir={tmp_path / 'run'}")
    assert (
        again.returncode == 1
        and "must not exist, or be an empty folder" in again.stderr.splitlines()[-1]
    )
    nothing = processes.run(*export, f"--workdir={tmp_path}")
    assert nothing.returncode == 1 and "`--workdir` must be" in nothing.stderr.splitlines()[-1]


GO_ON = """
import json, sys
import keras, numpy as np
import aux_keras
with np.load(sys.argv[2]) as given:
    x, y = given["x"], given["y"]
model = keras.models.load_model(sys.argv[1])
probabilities = model.predict(x, verbose=0).tolist()
history = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history
print(json.dumps([probabilities, history]))
"""


def test_a_fresh_process_goes_on_with_equal_losses(tmp_path):
    bare = dict(memory_gap=False, pictures=False, saved_model=False)
    _, model = run("digits_rp", tmp_path / "run", **SHORT, **bare, pretrain_steps=2, steps=2)
    rng = np.random.default_rng(0)
    x, y = rng.random((24, 64, 1), "float32"), rng.integers(0, 10, 24)
    np.savez(tmp_path / "given.npz", x=x, y=y)
    done = processes.run("-c", GO_ON, tmp_path / "run" / "model.keras", tmp_path / "given.npz")
    probabilities, history = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_array_equal(
        np.array(probabilities, "float32"), model.predict(x, verbose=0), done.stderr
    )
    ours = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history
    assert set(history) == set(ours) and "reconstruction_loss" in ours
    for name in ours:
        np.testing.assert_array_equal(history[name], ours[name], err_msg=name)
