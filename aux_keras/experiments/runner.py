"""Runs many configurations, a process and a core each, and collects their results."""

import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def run_all(runs, workdir, jobs, flags=()):
    """Runs `train.py` for each configuration; a finished run is not run again.

    Args:
        runs: dict from a run's name to the list of its flags.
        workdir: folder, with a folder of its own for every run.
        jobs: int, processes at a time, each held to its share of the cores.
        flags: list of flags for all runs.

    Returns:
        dict from a run's name to its `result.json`.

    Raises:
        RuntimeError: if a run fails, or its folder holds one of other flags, with the end of
            its output.
    """
    cores = sorted(os.sched_getaffinity(0))  # Linux
    shares = queue.Queue()
    for job in range(jobs):
        shares.put(set(cores[job::jobs]) or set(cores))

    def run(name):
        share = shares.get()
        try:
            return name, _run([*runs[name], *flags], pathlib.Path(workdir) / name, share)
        finally:
            shares.put(share)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = {}
        for name, result in pool.map(run, runs):
            results[name] = result
            print(f"{len(results)}/{len(runs)} {name}: {result['test_accuracy']:.4f}", flush=True)
    return results


def _run(flags, workdir, cores):
    command = [sys.executable, str(ROOT / "train.py"), *flags, f"--workdir={workdir}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-2000:]}")
    return json.loads((workdir / "result.json").read_text())
