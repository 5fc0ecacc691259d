"""The command `aux-keras`; `train.py` is the first of what it can do."""

import argparse
import os
import signal
import sys

from absl import app, logging

from aux_keras import flags, local_workers, quiet
from aux_keras.experiments import command, figures
from aux_keras.serving import FORMATS, predict
from aux_keras.training.addresses import addresses

USAGE = """usage: aux-keras train --flagfile=NAME --workdir=DIR [--FLAG=VALUE ...]
       aux-keras export --workdir=DIR --output=DIR [--format=onnx]
       aux-keras predict --model=DIR [FILE ...]
       aux-keras experiment NAME --scale=SCALE --workdir=DIR
       aux-keras figures --results=DIR --output=DIR
Each has --help."""


def main():
    """Runs the command that the first argument names."""
    name, rest = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    commands = {
        "train": train, "export": export, "predict": predict.main, "experiment": command.main,
        "figures": figures.main,
    }  # fmt: skip
    if name in ("-h", "--help"):
        print(USAGE)
    elif name in commands:
        try:
            commands[name](f"aux-keras {name}", rest)
        except BrokenPipeError:  # whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
    else:
        sys.exit(f"aux-keras: error: there is no command {name!r}\n{USAGE}")


def train(program, arguments):
    """Runs the configuration of the flags; exits with 1 and one line if it cannot.

    Args:
        program: str, what messages call the command.
        arguments: list of flags.
    """
    flags.define_flags()
    try:
        arguments = flags.expand_flagfiles(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"{program}: error: {error}")

    def parse(arguments):
        try:
            return app.parse_flags_with_usage(arguments)
        except ValueError as error:  # of a flag such as --noreverse=3
            sys.exit(f"{program}: error: {error}")

    app.run(lambda rest: run(program, rest[1:]), [program, *arguments], parse)


def run(program, rest):
    """What `train` does once absl has read the flags and left the rest."""
    if rest:
        sys.exit(
            f"{program}: error: Expected flags only, such as --flagfile=FILE. "
            f"Received: {' '.join(rest)}"
        )
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells what it saves
    try:
        experiment = flags.from_flags()
        from aux_keras.training import workdir as folder

        workdir = folder.check(experiment)
        if folder.finished(workdir, experiment.saved_model):
            print(f"This run is finished: {workdir / folder.RESULT}")
            return
        if experiment.local_workers:
            sys.exit(local_workers.launch(experiment))
        if experiment.strategy == "multi_worker":
            addresses(os.environ)  # refused at once where it cannot be meant
        quiet.import_tensorflow()  # last, so that the answers above need not wait for it
        from aux_keras.training import loop

        loop.run(experiment)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt as error:
        what = str(error) or "interrupted"
        print(f"\n{program}: {what}; rerun the same command to resume", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))  # as shells count


def export(program, arguments):
    """Exports the model of a finished run; exits with 1 and one line if it cannot."""
    parser = argparse.ArgumentParser(program, description=export.__doc__)
    path = os.path.expanduser
    parser.add_argument("--workdir", type=path, required=True, help="folder of a finished run")
    parser.add_argument("--output", type=path, required=True, help="folder, or ONNX file, to write")
    parser.add_argument("--format", default="saved_model", choices=FORMATS)
    given = parser.parse_args(arguments)
    quiet.import_tensorflow()  # last: it takes seconds
    from aux_keras.serving.export import export_run

    try:
        export_run(given.workdir, given.output, given.format)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{program}: error: {error}")
    print(f"Written: {given.output}", file=sys.stderr)
