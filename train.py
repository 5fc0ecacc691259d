"""Trains a model: `python train.py --flagfile=configs/digits_r.cfg --workdir=DIR`."""

import importlib.util
import pathlib
import sys

from absl import app, flags, logging


def _config_module():
    """`aux_keras.config` without the package, whose import of TensorFlow takes seconds."""
    path = pathlib.Path(__file__).resolve().parent / "aux_keras" / "config.py"
    spec = importlib.util.spec_from_file_location("_flags_of_aux_keras", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(arguments):
    """Runs the configuration of the flags; exits with 1 and one line if it cannot."""
    if len(arguments) > 1:
        sys.exit(
            "train.py: error: Expected flags only, such as --flagfile=FILE. "
            f"Received: {' '.join(arguments[1:])}"
        )
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells what it saves
    try:
        config.check_flagfiles(sys.argv[1:])
        experiment = config.from_flags()
        from aux_keras.training import loop  # here, so that --help need not wait for it

        loop.run(experiment)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"train.py: error: {error}")
    except KeyboardInterrupt:
        print("\ntrain.py: interrupted; the same command goes on from there", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    config = _config_module()
    config.define_flags()
    flags.adopt_module_key_flags(config)  # for --help
    app.run(main)
