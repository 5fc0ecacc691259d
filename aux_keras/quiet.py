"""TensorFlow's start without its notes on the machine, for our commands."""

import importlib
import os
import sys
import tempfile


def import_tensorflow():
    """Imports TensorFlow; what it writes on stderr meanwhile is shown only if that fails.

    It writes before its log has a level, so that `TF_CPP_MIN_LOG_LEVEL` does not keep it quiet.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
