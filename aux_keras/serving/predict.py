"""Classifies files with an exported model.

aux-keras predict --model=DIR FILES...

Images: files, or folders of them; `-` reads names of files from stdin. Texts: every line
of a file, or of stdin for `-`, is a text of its own, answered as soon as it is read; with
`--stream` all of stdin is one endless text, answered again whenever more of it comes.
"""

import argparse
import codecs
import itertools
import json
import os
import pathlib
import sys

from aux_keras import quiet

BATCH, STDIN, CHUNK_BYTES, LINE_BYTES = 32, "-", 1 << 16, 1 << 20


class Report:
    """Writes answers on stdout, errors and progress on stderr, and counts them."""

    def __init__(self, names, form):
        self.names, self.form = names, form
        self.done = self.failed = 0
        if form == "table":
            print("input\tlabel\tprobability", flush=True)

    def answer(self, name, probabilities):
        best = int(probabilities.argmax())
        label, probability = self.names[best], float(probabilities[best])
        if self.form == "table":
            print(f"{name}\t{label}\t{probability:.4f}", flush=True)
        else:
            every = dict(zip(self.names, map(float, probabilities)))
            row = {"input": name, "label": label, "probability": probability}
            print(json.dumps({**row, "probabilities": every}), flush=True)
        self.done += 1
        self.progress("\r")

    def error(self, name, message):
        self.failed += 1
        print(f"aux-keras predict: error: {name}: {message}", file=sys.stderr, flush=True)

    def progress(self, end="\n"):
        if end == "\n" or sys.stderr.isatty():
            count = f"{self.done} classified, {self.failed} failed"
            print(count, end=end, file=sys.stderr, flush=True)


def inputs(sources, kind):
    """`(name, bytes)` of everything that is to be classified, or `(name, exception)`."""
    source = None
    for source in sources:
        path = pathlib.Path(source)
        try:
            if not source:
                raise ValueError("there is no name of a file in it")
            elif source == STDIN and kind == "images":
                yield from inputs((line.rstrip("\n") for line in sys.stdin), kind)
            elif source == STDIN:
                yield from lines("stdin", sys.stdin.buffer)
            elif path.is_dir():
                found = sorted(str(p) for p in path.rglob("*") if p.is_file())
                if not found:
                    raise ValueError("there is no file in this folder")
                yield from inputs(found, kind)
            elif kind == "images":
                yield source, path.read_bytes()
            else:
                with open(path, "rb") as file:
                    yield from lines(source, file)
        except (OSError, ValueError) as error:
            yield source or "an empty name", error
    if source is None:
        yield "stdin", ValueError("there is no name of a file in it")


def lines(name, file):
    """`(name:number, line)` of every line of a binary file, or `(name:number, exception)`."""
    number = 0
    for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES)
            line = ValueError(f"this line is longer than {LINE_BYTES} bytes")
        else:
            line = checked_line(line)
        yield f"{name}:{number}", line
    if number == 0:
        raise ValueError("there is no line in this file")


def checked_line(line):
    """A line of bytes, or the exception that says why it is no text."""
    try:
        return line if line.decode("utf-8").strip() else ValueError("there is no text in this line")
    except UnicodeDecodeError:
        return ValueError("this line is not UTF-8")


def chunks(file):
    """Pieces of text of a binary file as they come, no character and no `\\n` torn apart."""
    decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for piece in iter(lambda: file.read1(CHUNK_BYTES), b""):
        text = held + decoder.decode(piece)
        held = "\\" if text.endswith("\\") else ""
        text = text.removesuffix(held)
        if text:
            yield text
    rest = held + decoder.decode(b"", final=True)
    if rest:
        yield rest


def classify_all(model, found, report, batch):
    """Classifies `(name, bytes)` in batches; what fails does not stop the others."""
    while items := list(itertools.islice(found, batch)):
        good = []
        for name, content in items:
            if isinstance(content, Exception):
                report.error(name, content)
            else:
                good.append((name, content))
        try:
            answers = list(model.classify([content for _, content in good])) if good else []
        except ValueError as error:
            if len(good) == 1:
                report.error(good[0][0], error)
            else:  # one by one, to name the one
                classify_all(model, iter(good), report, 1)
            continue
        for (name, _), probabilities in zip(good, answers):
            report.answer(name, probabilities)


def main(program, arguments):
    """Exits with 1 if anything could not be classified.

    Args:
        program: str, what messages call the command.
        arguments: list of str.
    """
    parser = argparse.ArgumentParser(
        program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=os.path.expanduser, required=True, help="folder of an exported model"
    )
    parser.add_argument("--format", default="table", choices=("table", "jsonl"))
    parser.add_argument("--stream", action="store_true", help="read stdin as one endless text")
    parser.add_argument("files", nargs="*", default=[STDIN], help="files, folders, or -")
    arguments = parser.parse_args(arguments)
    if arguments.stream and arguments.files != [STDIN]:
        parser.error("--stream reads stdin: leave out the files")
    sys.stdout.reconfigure(errors="backslashreplace")  # whatever the names of classes
    quiet.import_tensorflow()  # last: it takes seconds
    from aux_keras.serving.saved_classifier import SavedClassifier

    try:
        model = SavedClassifier(arguments.model)
        stream = model.stream(chunks(sys.stdin.buffer)) if arguments.stream else None
        report = Report(model.names, arguments.format)
        if arguments.stream:
            for characters, probabilities in stream:
                report.answer(f"{characters} characters", probabilities)
            if not report.done:
                report.error("stdin", "there is no character in it")
        else:
            at_once = 1 if STDIN in arguments.files else BATCH
            classify_all(model, inputs(arguments.files, model.kind), report, at_once)
    except ValueError as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt:  # the way to end an endless input
        sys.exit(130)
    report.progress()
    sys.exit(report.failed > 0)
