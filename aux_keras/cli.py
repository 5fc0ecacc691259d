"""The command `aux-keras`: train, export, predict. `train.py` is the first of them."""

import dataclasses
import importlib
import os
import sys

from absl import app, flags, logging

from aux_keras import config

MODULES = {"export": "aux_keras.serving.export", "predict": "aux_keras.serving.predict"}
USAGE = """usage: aux-keras train --flagfile=NAME --workdir=DIR [--FLAG=VALUE ...]
       aux-keras export --workdir=DIR --output=DIR
       aux-keras predict --model=DIR [FILE ...]
Each has --help."""


def main():
    """Runs the command that the first argument names."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow tells what it finds
    name, rest = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print(USAGE)
    elif name == "train":
        train("aux-keras train", rest)
    elif name in MODULES:
        sys.argv = [f"aux-keras {name}", *rest]
        importlib.import_module(MODULES[name]).main()
    else:
        sys.exit(f"aux-keras: error: there is no command {name!r}\n{USAGE}")


def train(program, arguments):
    """Runs the configuration of the flags; exits with 1 and one line if it cannot.

    Args:
        program: str, what messages call the command.
        arguments: list of flags.
    """
    config.define_flags()
    for field in dataclasses.fields(config.ExperimentConfig):  # what --help lists
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[field.name])
    try:
        arguments = config.expand_flagfiles(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"{program}: error: {error}")
    app.run(lambda rest: run(program, rest[1:]), [program, *arguments])


def run(program, rest):
    """What `train` does once absl has read the flags and left the rest."""
    if rest:
        sys.exit(
            f"{program}: error: Expected flags only, such as --flagfile=FILE. "
            f"Received: {' '.join(rest)}"
        )
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells what it saves
    try:
        experiment = config.from_flags()
        from aux_keras.training import loop  # here, so that --help need not wait for it

        loop.run(experiment)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; rerun the same command to resume", file=sys.stderr)
        sys.exit(130)
