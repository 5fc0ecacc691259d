"""Runs configurations one after another in one process, for `runner`.

Reads a JSON list of flags per line and answers each with a line, the JSON of `result.json` or
`{"error": ...}`. What the runs print goes to stderr. Several runs in a process share TensorFlow's
start and what XLA has compiled for networks of equal shapes, more than half of a short run's time.
"""

import gc
import json
import os
import sys

import keras

from aux_keras import flags
from aux_keras.training import loop


def run(arguments):
    """The result of one run, or what `train.py` would say is wrong with it."""
    try:
        return loop.run(flags.parse(arguments))
    except (ValueError, FloatingPointError, OSError) as error:
        return {"error": str(error)}
    finally:
        keras.backend.clear_session()
        gc.collect()


def main():
    """Answers every line of stdin."""
    flags.define_flags()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run prints is no answer
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
