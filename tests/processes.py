"""Commands of Python in processes that need not import TensorFlow: forks of one that has.

Where a test asks what is imported, or what is said meanwhile, it starts Python by `subprocess`.
"""

import atexit
import gc
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

from aux_keras import quiet

quiet.import_tensorflow()
from aux_keras.training import loop  # noqa: E402, F401  (imports what every command does)
from tests.conftest import take_short_ways  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
STREAMS = ("stdin", "stdout", "stderr")


class Process:
    """A process as `subprocess.Popen` starts it; what it reads and writes are files meanwhile.

    Args:
        *arguments: what follows `python` in the command.
        stdin: text.
        **environment: variables besides those of this process.
    """

    def __init__(self, *arguments, stdin="", **environment):
        self.arguments, self.folder = arguments, tempfile.TemporaryDirectory()
        for name in STREAMS:
            pathlib.Path(self.folder.name, name).write_text(stdin if name == "stdin" else "")
        given = (list(map(str, arguments)), self.folder.name, {**os.environ, **environment})
        self.process = FORKS.Process(target=begin, args=given)
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    def poll(self):
        """Its status, negative for a signal; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout=None):
        """Waits for its end: what it wrote, and its status.

        Raises:
            TimeoutError: if it runs for longer than so many seconds.
        """
        self.process.join(timeout)
        if self.poll() is None:
            raise TimeoutError(f"Still running after {timeout} seconds")
        with self.folder as folder:
            out, err = (pathlib.Path(folder, name).read_text() for name in STREAMS[1:])
        return subprocess.CompletedProcess(self.arguments, self.poll(), out, err)


def run(*arguments, **options):
    """As `subprocess.run`, arguments as of `Process`."""
    return Process(*arguments, **options).wait()


def begin(arguments, folder, environment):
    """What the fork does: the rest of `python`'s start, then the command."""
    for number, name in enumerate(STREAMS):
        with open(pathlib.Path(folder, name), "a" if number else "r") as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0)  # multiprocessing has closed it
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    take_short_ways(setattr)
    gc.disable()  # as in `conftest.pytest_collection_finish`
    first, *rest = arguments
    try:
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv = arguments
            runpy.run_path(first, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # before Python 3.13, multiprocessing leaves them out
