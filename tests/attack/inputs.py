"""Hands in broken images, csv files, flagfiles and texts: one line for each, no traceback.

python -m tests.attack.inputs
"""

import contextlib
import io
import random
import resource
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import aux_keras
from aux_keras import flags
from aux_keras.data import dbpedia
from aux_keras.serving import predict
from aux_keras.serving.export import export_model

RNG = random.Random(0)
ROW = b'3,"a title","some content, with a comma"\n'
LINES = ["--task=digits", "--units=8", "--method=r", "--epochs=2", "# a comment", "--seed=1"]


def damaged(content):
    """Cut, or with some bytes changed, doubled or left out."""
    kind = RNG.randrange(4)
    at = RNG.randrange(max(1, len(content)))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + RNG.randbytes(3) + content[at + 3 :]
    if kind == 2:
        return content[:at] + content[at // 2 :]
    return content[:at] + content[at + RNG.randrange(1, 9) :]


def classifier(folder, vocabulary_size=None):
    """A small exported model of images of 8 x 8 pixels, or of texts."""
    preprocessing = {"image_shape": [8, 8, 1], "scale": 255}
    embedding = None
    if vocabulary_size:
        preprocessing = {"alphabet": "abcdefghijklmnopqrstuvwxyz ", "max_length": 100}
        embedding = aux_keras.layers.TokenEmbedding(4, vocabulary_size)
    model = aux_keras.AuxiliaryClassifier(
        classes=3, rnn=keras.layers.LSTM(4), supervised_truncation=4, classifier_units=4,
        drop_rate=0.5, embedding=embedding, preprocessing=preprocessing,
    )  # fmt: skip
    model.build((None, None) if vocabulary_size else (None, None, 1))
    export_model(model, folder)
    return folder


def command(arguments, stdin=b""):
    """Status, stdout and stderr of `aux-keras predict`, or the exception that it let through."""
    before, status = sys.stdin, 0
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            predict.main("aux-keras predict", arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            err.write(end.code)
        status = end.code
    except Exception as error:
        return error, "", ""
    finally:
        sys.stdin = before
    return status, out.buffer.getvalue().decode(), err.getvalue()


def images(folder):
    """300 broken images, some of which claim to be huge."""
    files = folder / "images"
    files.mkdir()
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("uint8"))
    whole = {}
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        file = io.BytesIO()
        pixels.save(file, form)
        whole[form] = file.getvalue()
    for number in range(300):
        form = RNG.choice(sorted(whole))
        content = damaged(whole[form])
        if number % 10 == 0:
            content = whole["PNG"][:16] + RNG.randbytes(2) + b"\xff\xff" * 3 + whole["PNG"][24:]
        (files / f"{number:03}.{form.lower()}").write_bytes(content)
    status, out, err = command([f"--model={classifier(folder / 'of_images')}", str(files)])
    told = len(out.splitlines()) - 1 + len([x for x in err.splitlines() if "error" in x])
    return told == 300 and status in (0, 1), f"{told} of 300 answered or named, status {status}"


def csv_files(folder):
    """100 broken csv files."""
    tracebacks = refused = 0
    for number in range(100):
        path = folder / f"{number}.csv"
        path.write_bytes(damaged(ROW * RNG.randrange(1, 9)) if number else b"")
        try:
            list(dbpedia.read_rows(path))
        except ValueError as error:
            refused += 1
            tracebacks += str(path) not in str(error)
        except Exception as error:
            print("csv", type(error), error)
            tracebacks += 1
    return not tracebacks, f"{refused} of 100 refused by name, {tracebacks} not"


def flagfiles(folder):
    """50 flagfiles: broken ones, such as include themselves, chains, and no text at all."""
    flags.define_flags()
    path, refused, tracebacks = folder / "x.cfg", 0, 0
    special = [
        b"--flagfile=x.cfg", b"\xff\xfe--units=8", b"", b"--units", b"units=8", b"--units=",
        b"--flagfile=", b"--flagfile=/dev/null", b"--no_such=1", b"--units=1e999",
    ]  # fmt: skip
    for number in range(50):
        lines = "\n".join(RNG.sample(LINES, 4)).encode()
        path.write_bytes(special[number] if number < len(special) else damaged(lines))
        try:
            flags.parse([f"--flagfile={path}"])
        except ValueError:
            refused += 1
        except Exception as error:
            print("flagfile", path.read_bytes(), type(error), error)
            tracebacks += 1
    for number in range(1500):
        (folder / f"{number}.cfg").write_text(f"--flagfile={number + 1}.cfg")
    try:
        flags.parse([f"--flagfile={folder}/0.cfg"])
    except ValueError:
        refused += 1
    return not tracebacks, f"{refused} of 51 refused, {tracebacks} tracebacks"


def stdin(folder):
    """25 kinds of stdin, line by line and as a stream."""
    model = classifier(folder / "of_texts", vocabulary_size=29)
    kinds = [b"", b"\n", b"\n\n\n", b"abc", b"abc\n", b"a\0b\n", b"\0", b"\xff\n", b"\xff", b"\xc3",
             "ä".encode(), b"abc\r\n", b"\\n", b"\\", b"a\\", b"x" * 3_000_000, b"x\n" * 2,
             b" ", b"\t\n", b"\xef\xbb\xbfabc\n", b"-", b"--model", "\u2028".encode(),
             "\U0001f600\n".encode(), bytes(range(256))]  # fmt: skip
    tracebacks = 0
    for content in kinds:
        for arguments in ([], ["--stream"]):
            status, _, err = command([f"--model={model}", *arguments], content)
            if status not in (0, 1, False, True) or "Traceback" in err:
                print("stdin", content[:20], arguments, repr(status), err[-300:])
                tracebacks += 1
    return not tracebacks, f"{len(kinds)} kinds, {tracebacks} tracebacks"


def main():
    """Prints a line for each kind of input; exits with 1 if anything is not as it must be."""
    tf.get_logger().setLevel("ERROR")
    right = True
    for attack in (images, csv_files, flagfiles, stdin):
        with tempfile.TemporaryDirectory() as folder:
            good, told = attack(Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{attack.__name__}: {told}; peak {peak} MiB", flush=True)
        right = right and good
    sys.exit(not right)


if __name__ == "__main__":
    main()
