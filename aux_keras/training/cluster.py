"""Where a run happens: one device, all GPUs of a machine, or workers on several machines.

Every worker is a process with the same command. The chief among them has the workdir; the others
write what they have to write into a folder that is removed. What they decide, such as to write a
checkpoint and stop, they decide together.
"""

import contextlib
import os
import pathlib
import tempfile

import tensorflow as tf

import aux_keras
from aux_keras.training import workdir as folder
from aux_keras.training.addresses import addresses
from aux_keras.training.waiting import patience

LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError, tf.errors.InternalError, tf.errors.FailedPreconditionError,
)  # fmt: skip


class Workers:
    """The workers of a run, of which this process is one.

    Args:
        strategy: `tf.distribute.Strategy`.
        count: int, how many workers there are.
        index: int, number of this one; the chief is 0.
    """

    def __init__(self, strategy, count=1, index=0):
        self.strategy, self.count, self.index = strategy, count, index
        signature = [tf.TensorSpec([None], tf.int64)]
        self._total = tf.function(
            self._total_over_replicas, input_signature=signature, autograph=False
        )

    @property
    def chief(self):
        return self.index == 0

    def total(self, values):
        """The sums over all workers of a list of integers.

        A worker may end because of them, at once, and take along what others have not read yet; so
        none goes on before all know them. That one has ended by then, the next sums will tell.
        """
        if self.count == 1:
            return [int(value) for value in values]
        sums = self._total(tf.constant(values, tf.int64))
        with contextlib.suppress(*LOST):
            self._total(tf.constant([0], tf.int64))
        return [int(value) for value in sums]

    def _total_over_replicas(self, values):
        strategy = self.strategy
        total = strategy.reduce("SUM", strategy.run(tf.identity, [values]), axis=None)
        return total * self.count // strategy.num_replicas_in_sync

    def lost(self, error):
        """Whether an error may come from the end of another worker."""
        return self.count > 1 and isinstance(error, LOST)

    def anywhere(self, *conditions):
        """Whether each condition holds on any worker."""
        return [bool(total) for total in self.total([bool(c) for c in conditions])]

    def of_chief(self, text):
        """The chief's text, on every worker."""
        data = text.encode() if self.chief else b""
        (size,) = self.total([len(data)])
        return bytes(self.total([*data, *[0] * (size - len(data))])).decode()

    def agree(self, config):
        """Raises a `ValueError` unless all workers have the same flags, code and versions."""
        versions = f"aux_keras {aux_keras.__version__}, TensorFlow {tf.__version__}"
        chiefs, ours = config.differences(self.of_chief(config.flagfile()))
        self.agree_on(
            "the flags and versions", " ".join([*ours, versions]),
            " ".join([*chiefs, self.of_chief(versions)]),
        )  # fmt: skip

    def agree_on(self, what, ours, chiefs=None):
        """Raises a `ValueError` unless a text is the same on all workers."""
        chiefs = self.of_chief(ours) if chiefs is None else chiefs
        if not any(self.anywhere(ours != chiefs)):
            return
        received = "see the message of another worker"
        if ours != chiefs:
            received = f"on worker {self.index} {ours}, on the chief {chiefs}"
        raise ValueError(f"Workers must have {what} of the chief. Received: {received}")

    @contextlib.contextmanager
    def place(self, workdir):
        """The folder that this worker writes into: of the chief the workdir, locked.

        Raises:
            OSError: if it cannot be written, or not all workers see it.
        """
        stack, problem = contextlib.ExitStack(), None
        with stack:
            try:
                path = workdir
                if self.chief:
                    stack.enter_context(folder.locked(workdir))
                else:
                    path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            except OSError as error:
                problem = error
            if any(self.anywhere(problem)):
                raise problem or OSError("The chief cannot use `workdir`, see its message")
            if self.count > 1:
                self.check_shared(workdir)
            yield path

    def check_shared(self, workdir):
        """Raises an `OSError` unless all workers see what the chief writes."""
        name = self.of_chief(folder.unfinished(workdir / "shared").name)
        if self.chief:
            (workdir / name).touch()
        self.total([0])  # until it is there
        missing = not (workdir / name).exists()
        found = self.anywhere(missing)
        (workdir / name).unlink(missing_ok=True)
        if any(found):
            raise OSError(
                f"`workdir` must be a folder that all workers share. Received: workdir={workdir}"
                + (f", in which worker {self.index} does not see what the chief writes" * missing)
            )


@contextlib.contextmanager
def workers(config):
    """The `Workers` of a run, within the block.

    Raises:
        ValueError: if strategy, `$TF_CONFIG` and batch size do not fit together, or the workers
            have not the same flags.
        ConnectionError: if a worker is lost.
    """
    found = None
    try:
        found = start(config)
        replicas = found.strategy.num_replicas_in_sync
        if config.batch_size % replicas:
            raise ValueError(
                f"`batch_size` must be a multiple of the {replicas} replicas. Received: "
                f"batch_size={config.batch_size}"
            )
        found.agree(config)
        with open(os.devnull, "w") as silence, contextlib.ExitStack() as stack:
            if not found.chief:
                stack.enter_context(contextlib.redirect_stdout(silence))
            yield found
    except tf.errors.OpError as error:
        if found is not None and not found.lost(error):
            raise
        raise ConnectionError(
            "A worker has been lost, and training has stopped. Start the same command on every "
            f"worker: they go on from the last checkpoint. {str(error).strip().splitlines()[-1]}"
        ) from error


def start(config):
    """The `Workers` by the flag `--strategy`."""
    if config.strategy == "one":
        return Workers(tf.distribute.get_strategy())
    if config.strategy == "mirrored":
        return Workers(tf.distribute.MirroredStrategy())
    everyone, index = addresses(os.environ)
    resolver = None
    if "TF_CONFIG" not in os.environ:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
    with patience(everyone, config.worker_timeout):
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        found = Workers(strategy, len(everyone), index)
        found.total([0])
    return found
