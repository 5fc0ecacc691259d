"""Runs many configurations, some at a time with a core each, and collects their results."""

import concurrent.futures
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import time


class Pool:
    """Some processes of `worker`, each on its share of the cores.

    Args:
        jobs: int, processes.
    """

    def __init__(self, jobs):
        cores = sorted(os.sched_getaffinity(0))  # Linux
        self.workers = [Worker(set(cores[job::jobs]) or set(cores)) for job in range(jobs)]
        self.idle = queue.Queue()
        for worker in self.workers:
            self.idle.put(worker)

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        for worker in self.workers:
            worker.close(stop=kind is not None)

    def ask(self, requests):
        """Yields `(name, answer)` as they come of `{name: request}`.

        Raises:
            RuntimeError: if one fails, with its error; the others are not begun.
        """

        def one(name):
            worker = self.idle.get()
            try:
                return name, worker.ask(requests[name])
            finally:
                self.idle.put(worker)

        threads = concurrent.futures.ThreadPoolExecutor(len(self.workers))
        try:
            pending = [threads.submit(one, name) for name in requests]
            for done in concurrent.futures.as_completed(pending):
                yield done.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in self.workers:
                worker.close(stop=True)
            raise
        finally:
            threads.shutdown(cancel_futures=True)


class Worker:
    """A process of `worker` on some cores, started when it is first needed."""

    def __init__(self, cores):
        self.cores = cores
        self.process = None

    def ask(self, request):
        """The answer to a request.

        Raises:
            RuntimeError: if it fails, with its error or the end of the process's output.
        """
        if self.process is None:
            self.log = tempfile.TemporaryFile("w+")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aux_keras.experiments.worker"], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                start_new_session=True,  # ctrl-C reaches it as one signal, of `close`
                preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
            )  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise RuntimeError(f"{' '.join(request['flags'])}\n{self.log.read()[-2000:]}")
        result = json.loads(answer)
        if "error" in result:
            raise RuntimeError(f"{' '.join(request['flags'])}\n{result['error']}")
        return result

    def close(self, stop):
        """Ends the process: at once, after a checkpoint of the run in it, if `stop`."""
        if self.process is not None:
            if stop:
                self.process.terminate()
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()
            self.process = None


def measure(pool, runs):
    """Steps of runs, and seconds per step, measured on a few steps of each.

    Args:
        pool: `Pool`.
        runs: dict from a name to a list of flags.

    Returns:
        dict from a name to `{phase: [steps, seconds per step]}`.
    """
    return dict(pool.ask({n: {"flags": flags, "timed": True} for n, flags in runs.items()}))


def run_all(pool, runs, workdir, seconds):
    """Runs what `train.py` runs for each configuration; a finished run is not run again.

    Prints a line per run: what it reached, and the time left.

    Args:
        pool: `Pool`.
        runs: dict from a run's name to the list of its flags.
        workdir: folder, with a folder of its own for every run.
        seconds: dict from a run's name to how long it should take; of what is not there, 0.

    Returns:
        dict from a run's name to its `result.json`, with its folder as `workdir`.

    Raises:
        RuntimeError: if a run fails, or its folder holds one of other flags.
    """
    requests = {name: {"flags": within(workdir / name, flags)} for name, flags in runs.items()}
    began, results, planned = time.perf_counter(), {}, 0
    for name, result in pool.ask(requests):  # in the order in which they end
        results[name] = {**result, "workdir": workdir / name}
        planned += seconds.get(name, 0)
        line = f"{len(results)}/{len(runs)} {name}: {result['test_accuracy']:.4f}"
        if planned and (left := sum(seconds.get(n, 0) for n in set(runs) - set(results))):
            line += f", {duration(left * (time.perf_counter() - began) / planned)} left"
        print(line)
    return results


def profile_all(pool, runs, workdir):
    """Memory profiles of finished runs, arguments as of `run_all`: `{name: worker.profiled}`."""
    requests = {n: {"flags": within(workdir / n, own), "profiled": True} for n, own in runs.items()}
    return dict(pool.ask(requests))


def within(folder, flags):
    """Flags of a run in a folder."""
    return ["--pictures=false", *flags, f"--workdir={folder}"]


def duration(seconds):
    """Seconds in words, such as `1 h 20 min`."""
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours)
    return " ".join([*parts, f"{minutes} min"] if not days else parts)
