"""Exported models: what they compute without keras, how they stream, what they refuse."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras.data import transforms
from aux_keras.serving import onnx_graph, predict, raw_inputs, saved_classifier
from aux_keras.serving.export import export_model
from tests import processes
from tests.conftest import set_seed

L = keras.layers
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WITHOUT_KERAS = """
import sys
for name in ("keras", "aux_keras"):
    sys.modules[name] = None  # an import of it raises
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
with np.load(sys.argv[2]) as given:
    serve = loaded.signatures["serve"]
    found = {
        name: serve(tokens=tf.constant(given[name]), lengths=tf.constant(given["lengths_" + name]))
        for name in given.files if not name.startswith("lengths_")
    }
np.savez(sys.argv[3], **{name: answer["probabilities"] for name, answer in found.items()})
try:
    import keras
except ImportError:
    print("keras is blocked")
"""


def classifier(kind="lstm", characters=False, **options):
    """A classifier whose probabilities are far from equal."""
    embedding = ak.TokenEmbedding(8, vocabulary_size=transforms.VOCABULARY if characters else None)
    common = dict(classes=10, classifier_units=16, drop_rate=0.5, embedding=embedding, **options)
    if kind in ("transformer", "tdmca"):
        attention = ak.SelfAttention(2)
        if kind == "tdmca":
            attention = ak.MemoryCompressedAttention(2, 3)
        blocks = [ak.TransformerBlock(attention, 16, drop_rate=0.1)]
        model = ak.TransformerClassifier(blocks=blocks, input_drop_rate=0.1, **common)
    else:
        rnn = {
            "lstm": lambda: L.LSTM(24),
            "gru": lambda: L.GRU(24),
            "irnn": lambda: L.RNN(ak.IRNNCell(24, 0.1)),
            "urnn": lambda: L.RNN(ak.URNNCell(24, seed=1)),
        }[kind]()
        cell = {"lstm": L.LSTMCell, "gru": L.GRUCell}.get(kind, L.SimpleRNNCell)(4)
        task = ak.Reconstruction([cell], 1, 3, 3, hidden_units=4, drop_rate=0.5)
        model = ak.AuxiliaryClassifier(rnn=rnn, supervised_truncation=5, auxiliary=[task], **common)
    model.build((None, None) if characters else (None, None, 1))
    rng = np.random.default_rng(3)
    for weight in model.readout.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def exported(model, tmp_path):
    export_model(model, tmp_path / "exported")
    return tf.saved_model.load(str(tmp_path / "exported"))


def live(model, tokens, lengths):
    return model.predict({"tokens": tokens, "lengths": lengths}, verbose=0)


def sequences(batch, time):
    return np.random.default_rng(batch + time).random((batch, time, 1), dtype="float32")


def test_without_keras_it_gives_the_same_probabilities(tmp_path):
    """Batches of 1, 7 and 0; lengths 1, 784, 5000 and ragged ones."""
    model, given, wanted = classifier(), {}, {}
    for batch, time in ((1, 1), (7, 1), (1, 784), (7, 784), (1, 5000), (7, 5000), (0, 784)):
        for ragged in (False, True):
            name = f"{batch}_{time}_{ragged}"
            lengths = np.full(batch, time, "int32")
            if ragged:
                lengths = np.random.default_rng(0).integers(1, time, batch, "int32", endpoint=True)
            given[name], given[f"lengths_{name}"] = sequences(batch, time), lengths
            wanted[name] = live(model, given[name], lengths) if batch else np.zeros((0, 10))
    export_model(model, tmp_path / "exported")
    np.savez(tmp_path / "given.npz", **given)
    command = [sys.executable, "-c", WITHOUT_KERAS, *(
        str(tmp_path / n) for n in ("exported", "given.npz", "found.npz"))]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "keras is blocked" in done.stdout, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert set(found.files) == set(wanted)
        for name, probabilities in wanted.items():
            assert found[name].shape == probabilities.shape
            np.testing.assert_allclose(found[name], probabilities, atol=1e-6, err_msg=name)
    assert np.ptp(wanted["7_784_False"]) > 0.2  # not ten equal probabilities


@pytest.mark.parametrize("kind", ["lstm", "gru", "irnn", "urnn", "transformer", "tdmca"])
@pytest.mark.parametrize("characters", [False, True], ids=["real", "characters"])
def test_every_model_is_served_as_it_is(kind, characters, tmp_path):
    model = classifier(kind, characters)
    loaded = exported(model, tmp_path)
    rng = np.random.default_rng(0)
    tokens, lengths = sequences(5, 40), np.array([1, 40, 17, 8, 9], "int32")
    if characters:
        tokens = rng.integers(0, transforms.VOCABULARY, (5, 40), dtype="int32")
    answer = loaded.serve(tokens, lengths)
    np.testing.assert_allclose(answer["probabilities"], live(model, tokens, lengths), atol=1e-6)
    assert np.all(answer["labels"] == np.argmax(live(model, tokens, lengths), 1))
    recurrent = kind not in ("transformer", "tdmca")
    assert ("stream" in loaded.signatures) == ("initial_state" in loaded.signatures) == recurrent
    assert "serve_raw" not in loaded.signatures  # without preprocessing
    assert loaded.signatures["label_names"]()["names"].numpy()[9] == b"9"


@pytest.mark.parametrize("kind", ["lstm", "gru", "urnn"])
def test_streaming_equals_the_whole_sequence(kind, tmp_path):
    model = classifier(kind)
    loaded = exported(model, tmp_path)
    tokens = sequences(3, 1568)
    wanted = live(model, tokens, np.full(3, 1568, "int32"))
    for chunk in (1, 7, 784):
        state = loaded.initial_state(tf.constant(3))["state"]
        for start in range(0, 1568, chunk):
            answer = loaded.stream(tokens[:, start : start + chunk], state)
            state = answer["state"]
        np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-6)
    after_nothing = loaded.stream(tokens[:, :0], state)
    np.testing.assert_array_equal(after_nothing["state"], state)


def test_streaming_a_million_steps_takes_no_more_memory(tmp_path):
    """Peak memory after a million steps is within 20 MiB of that after the first thousand."""
    export_model(classifier(), tmp_path / "exported")
    code = """
import sys
import tensorflow as tf

def peak():  # of this process alone, in KiB; `getrusage` would tell that of pytest, if higher
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))

loaded = tf.saved_model.load(sys.argv[1])
chunk, state = tf.random.uniform((1, 1000, 1)), loaded.initial_state(tf.constant(1))["state"]
for i in range(1000):
    state = loaded.stream(chunk, state)["state"]
    if i in (0, 999):
        print(peak())
leak = tf.ones(8 << 20)  # 32 MiB: what is measured can grow
print(peak())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "exported")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, last, leaked = map(int, done.stdout.split())
    assert last - first <= 20 * 1024, f"{first} to {last} KiB"
    assert leaked - first > 20 * 1024


@pytest.mark.parametrize(
    ("kind", "characters", "ragged"),
    [
        ("lstm", False, False),
        ("lstm", False, True),
        ("lstm", True, False),
        ("gru", True, True),
        ("transformer", False, True),
        ("tdmca", True, False),
    ],
)
def test_keras_exports_a_model_that_was_never_called(kind, characters, ragged, tmp_path):
    shape = (None, None) if characters else (None, None, 1)
    model = type(built := classifier(kind, characters)).from_config(built.get_config())
    model.build({"tokens": shape, "lengths": (None,)} if ragged else shape)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    for batch, time in ((2, 9), (3, 12)):
        x = sequences(batch, time)
        x = (x[..., 0] * 50).astype("int32") if characters else x
        if ragged:
            x = {"tokens": x, "lengths": np.arange(1, batch + 1, dtype="int32")}
        np.testing.assert_allclose(loaded.serve(x), model.predict(x, verbose=0), atol=1e-6)


def test_the_classifier_alone_is_exported(tmp_path):
    model = classifier()
    loaded = exported(model, tmp_path)
    count = {v.name: int(np.prod(v.shape)) for v in loaded.variables if "seed" not in v.name}
    used = model.model.trainable_weights
    assert sum(count.values()) == sum(int(np.prod(w.shape)) for w in used)
    assert sum(count.values()) < sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    graph = (tmp_path / "exported" / "saved_model.pb").read_bytes()
    assert b"XlaMustCompile" not in graph and b"Cudnn" not in graph  # runs on any machine


def test_mixed_precision_is_served(tmp_path):
    model = classifier(dtype="mixed_bfloat16")
    loaded = exported(model, tmp_path)
    tokens, lengths = sequences(4, 30), np.array([30, 3, 1, 20], "int32")
    answer = loaded.serve(tokens, lengths)["probabilities"]
    np.testing.assert_allclose(answer, live(model, tokens, lengths), atol=0.02)


@pytest.mark.parametrize("kind", ["lstm", "gru", "irnn"])
@pytest.mark.parametrize("characters", [False, True], ids=["real", "characters"])
def test_onnx_gives_the_same(kind, characters, tmp_path):
    import onnxruntime

    model, path = classifier(kind, characters), tmp_path / "model.onnx"
    export_model(model, path, format="onnx")
    session = onnxruntime.InferenceSession(str(path))
    rng = np.random.default_rng(0)
    for batch, time in ((1, 1), (7, 100), (3, 784)):
        tokens = sequences(batch, time)
        if characters:
            tokens = rng.integers(0, transforms.VOCABULARY, (batch, time), dtype="int32")
        lengths = rng.integers(1, time, batch, "int32", endpoint=True)
        given = {"tokens": tokens, "lengths": lengths}
        probabilities, labels = session.run(["probabilities", "labels"], given)
        wanted = live(model, tokens, lengths)
        np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
        assert np.all(labels == wanted.argmax(axis=1))


@pytest.mark.parametrize("kind", ["urnn", "transformer", "tdmca", "half"])
def test_onnx_is_refused_where_it_would_be_wrong(kind, tmp_path):
    model = classifier(dtype="mixed_bfloat16") if kind == "half" else classifier(kind)
    with pytest.raises(ValueError, match="`format='onnx'`"):
        export_model(model, tmp_path / "model.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_difference", lambda *_: 2e-5)
    with pytest.raises(ValueError, match="probabilities differ by 2e-05"):
        export_model(classifier(), tmp_path / "model.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


IMAGES = {"image_shape": [8, 8, 1], "scale": 255, "order": None, "label_names": list("abcdefghij")}
TEXTS = {"alphabet": transforms.ALPHABET, "max_length": 20, "label_names": list("abcdefghij")}


def png(image):
    return tf.io.encode_png(image).numpy()


def test_raw_images_are_read_as_in_training(tmp_path):
    """The tokens of a file are those of the task's own pipeline, permuted ones too."""
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    order = transforms.pixel_order("random", 64)
    for given in (None, [int(i) for i in order]):
        model = classifier(preprocessing={**IMAGES, "order": given})
        files = [png(image) for image in images]
        loaded = exported(model, tmp_path / str(given is None))
        tokens = images.reshape(5, 64, 1)[:, slice(None) if given is None else order] / 255
        encoded = loaded.encode(tf.constant(files))
        np.testing.assert_allclose(encoded["tokens"], tokens, atol=1e-7)
        answer = loaded.serve_raw(tf.constant(files))
        wanted = live(model, tokens.astype("float32"), np.full(5, 64, "int32"))
        np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-6)
        names = [name.decode() for name in answer["names"].numpy()]
        assert names == ["abcdefghij"[i] for i in wanted.argmax(1)]


def test_raw_images_of_another_size_are_resized():
    image = np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)
    raw = raw_inputs.of({**IMAGES, "image_shape": [8, 8, 3]})
    tokens, lengths = raw.prepare(tf.constant([png(image)] * 2))
    wanted = transforms.scale(transforms.flatten(transforms.resize(image, 8, 8)))
    np.testing.assert_array_equal(tokens[1], wanted)
    assert tokens.shape == (2, 64, 3) and list(lengths) == [64, 64]


def test_raw_texts_are_read_as_in_training(tmp_path):
    texts = ["  A title. And\\nits content, far too long ", "b", "\u00c9tude \u2603"]
    raw = raw_inputs.of(TEXTS)
    tokens, lengths = raw.prepare(tf.constant(texts))
    for row, length, text in zip(tokens.numpy(), lengths.numpy(), texts):
        wanted = transforms.encode_text(transforms.join_text("", text)).numpy()[:20]
        np.testing.assert_array_equal(row[:length], wanted)
        assert not row[length:].any() and length == len(wanted)


def test_texts_stream_like_one_text(tmp_path):
    model = classifier(characters=True, preprocessing={**TEXTS, "max_length": 5000})
    export_model(model, tmp_path / "exported")
    served = saved_classifier.SavedClassifier(tmp_path / "exported")
    text = "Caf\u00e9 \\n and \\\\no more " * 40
    torn = [text.encode()[i : i + 3] for i in range(0, len(text.encode()), 3)]

    class Pipe:
        def read1(self, size):
            return torn.pop(0) if torn else b""

    characters, probabilities = list(served.stream(predict.chunks(Pipe())))[-1]
    (tokens,) = transforms.encode_text([text]).numpy()
    assert characters == len(tokens)
    wanted = live(model, tokens[None].astype("int32"), np.array([len(tokens)], "int32"))
    np.testing.assert_allclose(probabilities, wanted[0], atol=1e-6)


REFUSED = {
    "width": (lambda f: f["serve"](tokens=tf.zeros((1, 5, 2)), lengths=tf.constant([5])),
              "tokens [1,5,2] is not compatible with expected shape [?,?,1]"),
    "rank": (lambda f: f["serve"](tokens=tf.zeros((1, 5)), lengths=tf.constant([5])),
             "tokens [1,5] is not compatible with expected shape [?,?,1]"),
    "too long": (lambda f: f["serve"](tokens=tf.zeros((1, 5, 1)), lengths=tf.constant([6])),
                 "`lengths` must be integers from 1"),
    "empty": (lambda f: f["serve"](tokens=tf.zeros((1, 5, 1)), lengths=tf.constant([0])),
              "`lengths` must be integers from 1"),
    "lengths": (lambda f: f["serve"](tokens=tf.zeros((1, 5, 1)), lengths=tf.constant(5)),
                "lengths"),
    "nan state": (lambda f: f["stream"](tokens=tf.zeros((1, 5, 1)), state=tf.fill((1, 48), np.nan)),
                  "`state` must be finite"),
    "one image": (lambda f: f["serve_raw"](images=tf.constant("nothing")), "images"),
    "nan": (lambda f: f["serve"](tokens=tf.fill((1, 5, 1), np.nan), lengths=tf.constant([5])),
            "`tokens` must be finite"),
    "rows": (lambda f: f["serve"](tokens=tf.zeros((2, 5, 1)), lengths=tf.constant([5])),
             "`lengths` must have an entry for every sequence"),
    "chunk": (lambda f: f["stream"](tokens=tf.zeros((1, 5, 2)), state=tf.zeros((1, 48))),
              "tokens [1,5,2] is not compatible with expected shape [?,?,1]"),
    "state": (lambda f: f["stream"](tokens=tf.zeros((1, 5, 1)), state=tf.zeros((1, 3))),
              "state [1,3] is not compatible with expected shape [?,48]"),
    "state rows": (lambda f: f["stream"](tokens=tf.zeros((1, 5, 1)), state=tf.zeros((2, 48))),
                   "`state` must have a row for every sequence"),
    "batch size": (lambda f: f["initial_state"](batch_size=tf.constant(-1)),
                   "`batch_size` must not be negative"),
    "no image": (lambda f: f["serve_raw"](images=tf.constant(["nothing"])), "Unknown image file"),
    "empty image": (lambda f: f["encode"](images=tf.constant([""])), "Input is empty"),
}  # fmt: skip


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    set_seed(7)
    loaded = exported(classifier(preprocessing=IMAGES), tmp_path_factory.mktemp("served"))
    return loaded, loaded.signatures


@pytest.mark.parametrize("case", REFUSED)
def test_signatures_refuse(case, signatures):
    call, message = REFUSED[case]
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        call(signatures[1])
    assert message in str(raised.value)


def test_characters_outside_of_the_vocabulary_are_refused(tmp_path):
    loaded = exported(classifier(characters=True), tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`tokens` holds something else"):
        loaded.serve(tf.constant([[3, 400]]), tf.constant([2]))


def test_export_refuses(tmp_path):
    model = classifier()
    with pytest.raises(ValueError, match="`format` must be one of"):
        export_model(model, tmp_path / "x", format="tflite")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OSError, match="must not exist"):
        export_model(model, tmp_path / "full")
    with pytest.raises(ValueError, match="`model` must be a built"):
        export_model(keras.Sequential([L.Dense(1)]), tmp_path / "x")
    unbuilt = ak.AuxiliaryClassifier(2, L.LSTM(3), 1, None, 0.0)
    with pytest.raises(ValueError, match="`model` must be built"):
        export_model(unbuilt, tmp_path / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


BAD_PREPROCESSING = {
    "scale missing": ({"image_shape": [8, 8, 1]}, "must have 'scale': a positive number"),
    "shape": ({**IMAGES, "image_shape": [8, 8]}, "'image_shape': three positive integers"),
    "channels": ({**IMAGES, "image_shape": [8, 8, 3]}, "3 features or characters for a model of 1"),
    "order": ({**IMAGES, "order": [0, 1]}, "'order': None, or a permutation of 64 pixels"),
    "names": ({**IMAGES, "label_names": ["a", "b"]}, "strings. Received: .* for 10 classes"),
    "upper case": ({**TEXTS, "alphabet": "ACGT"}, "none of them upper case"),
    "length no integer": ({**TEXTS, "max_length": 9.0}, "'max_length': a positive integer"),
    "size no integer": ({**IMAGES, "max_pixels": 1e6}, "'max_pixels': a positive integer"),
    "length missing": ({"alphabet": "acgt"}, "'max_length': a positive integer"),
}


@pytest.mark.parametrize("case", BAD_PREPROCESSING)
def test_preprocessing_that_does_not_fit_is_refused(case, tmp_path):
    preprocessing, message = BAD_PREPROCESSING[case]
    with pytest.raises(ValueError, match=message):
        export_model(classifier(preprocessing=preprocessing), tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_export_command_names_what_it_cannot_read(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK but no archive")
    done = command("export", f"--workdir={tmp_path}", f"--output={tmp_path / 'out'}")
    last = done.stderr.splitlines()[-1]
    assert (
        done.returncode == 1
        and last.startswith("aux-keras export: error: ")
        and "model.keras" in last
    )
    assert not (tmp_path / "out").exists()


def command(*arguments, stdin=""):
    return processes.run("-m", "aux_keras", *arguments, stdin=stdin)


def test_predict_command_on_images(tmp_path):
    """A folder and a file; what is no image is named, and does not stop the others."""
    model = classifier(preprocessing=IMAGES)
    export_model(model, tmp_path / "exported")
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        (folder / f"{i}.png").write_bytes(png(image))
    (folder / "2b.png").write_text("no image")
    (folder / "2c.png").write_bytes(b"")
    done = command("predict", f"--model={tmp_path / 'exported'}", "--format=jsonl", folder,
                   tmp_path / "missing.png")  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    tokens = (images.reshape(4, 64, 1) / 255).astype("float32")
    wanted = live(model, tokens, np.full(4, 64, "int32"))
    assert [row["input"] for row in rows] == [str(folder / f"{i}.png") for i in range(4)]
    found = [list(row["probabilities"].values()) for row in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    errors = [
        line for line in done.stderr.splitlines() if line.startswith("aux-keras predict: error")
    ]
    assert done.returncode == 1 and len(errors) == 3
    for name in ("2b.png: Unknown image", "2c.png: Input is empty", "missing.png: "):
        assert name in done.stderr
    assert "4 classified, 3 failed" in done.stderr
    option = f"--model={tmp_path / 'exported'}"
    for names, failed in (("\n", "an empty name: "), ("", "stdin: ")):
        done = command("predict", option, "-", stdin=names)
        assert done.returncode == 1 and f"{failed}there is no name of a file" in done.stderr
    done = command("predict", option, "--stream", stdin="text")
    assert done.returncode == 1 and not done.stdout


def test_predict_command_on_texts(tmp_path):
    """Lines of a file and of stdin, the table, and one endless text."""
    model = classifier(characters=True, preprocessing=TEXTS)
    export_model(model, tmp_path / "exported")
    (tmp_path / "texts.txt").write_text("first text\n\nA third, which is too long for it\n")
    option = f"--model={tmp_path / 'exported'}"
    (tmp_path / "empty.txt").touch()
    done = command("predict", option, tmp_path / "texts.txt", tmp_path / "empty.txt")
    assert "empty.txt: there is no line in this file" in done.stderr
    assert done.stdout.splitlines()[0] == "input\tlabel\tprobability"
    names = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert names == [f"{tmp_path / 'texts.txt'}:1", f"{tmp_path / 'texts.txt'}:3"]
    assert done.returncode == 1 and "texts.txt:2: there is no text" in done.stderr
    piped = command("predict", option, "-", stdin="first text\nA third, which is too long for it")
    assert piped.returncode == 0
    ours = [line.split("\t")[1:] for line in done.stdout.splitlines()]
    assert [line.split("\t")[1:] for line in piped.stdout.splitlines()] == ours
    (tmp_path / "binary").write_bytes(b"\x89PNG\r\n\x00\x01\nplain text\n\xff\xfe\n")
    done = command("predict", option, tmp_path / "binary")
    assert done.returncode == 1 and [
        r.split("\t")[0][-2:] for r in done.stdout.splitlines()[1:]
    ] == [":2", ":3"]
    for message in (":1: this line is not UTF-8", ":4: this line is not"):
        assert message in done.stderr
    streamed = command("predict", option, "--stream", stdin="a text that goes on and on")
    assert streamed.stdout.splitlines()[-1].startswith("26 characters\t")
    assert streamed.returncode == 0


def test_predict_answers_lines_as_they_come(tmp_path):
    export_model(classifier(characters=True, preprocessing=TEXTS), tmp_path / "exported")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": ROOT}
    # A shell's background job, and what it starts, ignores ctrl-C: not this process.
    script = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("aux_keras", run_name="__main__", alter_sys=True)"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, "predict", f"--model={tmp_path / 'exported'}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    with process:
        assert process.stdout.readline().startswith("input")
        for i in range(3):
            process.stdin.write(f"line {i}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f"stdin:{i + 1}\t")
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 130


def test_predict_refuses_models(tmp_path):
    with pytest.raises(ValueError, match="must be the folder of an exported model"):
        saved_classifier.SavedClassifier(tmp_path)
    export_model(classifier(preprocessing=IMAGES), tmp_path / "cut")
    variables = tmp_path / "cut" / "variables" / "variables.data-00000-of-00001"
    os.truncate(variables, variables.stat().st_size // 2)
    export_model(classifier(preprocessing=IMAGES), tmp_path / "torn")
    os.truncate(tmp_path / "torn" / "saved_model.pb", 5000)
    export_model(classifier(), tmp_path / "tokens_only")
    for name in ("cut", "torn"):
        with pytest.raises(ValueError, match="cannot be read"):
            saved_classifier.SavedClassifier(tmp_path / name)
    with pytest.raises(ValueError, match="takes no files"):
        saved_classifier.SavedClassifier(tmp_path / "tokens_only")
    done = command("predict", f"--model={tmp_path / 'cut'}", "x.png")
    assert done.returncode == 1 and not done.stdout and "Traceback" not in done.stderr
    assert "predict: error: `--model` cannot be read" in done.stderr.splitlines()[-1]
