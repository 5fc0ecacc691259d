"""Runs many configurations, some at a time with a core each, and collects their results."""

import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def run_all(runs, workdir, jobs, flags=()):
    """Runs what `train.py` runs for each configuration; a finished run is not run again.

    Args:
        runs: dict from a run's name to the list of its flags.
        workdir: folder, with a folder of its own for every run.
        jobs: int, runs at a time, each held to its share of the cores.
        flags: list of flags for all runs.

    Returns:
        dict from a run's name to its `result.json`.

    Raises:
        RuntimeError: if a run fails, or its folder holds one of other flags.
    """
    workers = queue.Queue()
    cores = sorted(os.sched_getaffinity(0))  # Linux
    for job in range(min(jobs, len(runs))):
        workers.put(Worker(set(cores[job::jobs]) or set(cores)))

    def run(name):
        worker = workers.get()
        try:
            flagged = [*runs[name], *flags, f"--workdir={pathlib.Path(workdir) / name}"]
            return name, worker.run(flagged)
        finally:
            workers.put(worker)

    results = {}
    with concurrent.futures.ThreadPoolExecutor(max(1, workers.qsize())) as pool:
        pending = [pool.submit(run, name) for name in runs]
        try:
            for done in concurrent.futures.as_completed(pending):
                name, results[name] = done.result()
                accuracy = results[name]["test_accuracy"]
                print(f"{len(results)}/{len(runs)} {name}: {accuracy:.4f}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
            while not workers.empty():
                workers.get().close()
    return results


class Worker:
    """A process of `worker` on some cores, started when it is first needed."""

    def __init__(self, cores):
        self.cores = cores
        self.process = None

    def run(self, flags):
        """The result of a run.

        Raises:
            RuntimeError: if it fails, with its error or the end of the process's output.
        """
        if self.process is None:
            self.log = tempfile.TemporaryFile("w+")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aux_keras.experiments.worker"], cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
            )  # fmt: skip
        self.process.stdin.write(json.dumps(flags) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise RuntimeError(f"{' '.join(flags)}\n{self.log.read()[-2000:]}")
        result = json.loads(answer)
        if "error" in result:
            raise RuntimeError(f"{' '.join(flags)}\n{result['error']}")
        return result

    def close(self):
        """Ends the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()
