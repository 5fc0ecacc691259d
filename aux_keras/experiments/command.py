"""Runs a table or figure of the paper, and writes its csv file.

aux-keras experiment table2 --scale=quarter --workdir=runs/table2

First some steps of every row are timed, and the time of all is printed. The same command resumes
what was interrupted; runs that are finished are not run again. Rows with an accuracy in the paper
have it beside theirs.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import signal
import sys

from aux_keras import config
from aux_keras import flags as flagfiles
from aux_keras.experiments import catalogue, gather, runner
from aux_keras.experiments.experiment import settings
from aux_keras.training import workdir


def main(program, arguments):
    """Runs the command; exits with 1 and one message if it cannot."""
    given = parse(program, arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as ctrl-C does
    try:
        if given.list:
            print("\n".join(f"{row.name}: {' '.join(row.flags)}" for row in given.rows), flush=True)
        else:
            with runner.Pool(given.jobs) as pool:
                run(given, pool)
    except BrokenPipeError:
        raise  # for `cli.main`
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; rerun the same command to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parse(program, arguments):
    """The arguments, parsed, with `experiment` and its `rows`."""
    parser = argparse.ArgumentParser(
        program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=catalogue.NAMES, help="table or figure")
    parser.add_argument("--scale", default="miniature", choices=catalogue.SCALES)
    parser.add_argument("--workdir", help="folder of the runs, by default runs/NAME_SCALE")
    parser.add_argument("--output", help="csv file, by default NAME_SCALE.csv in the workdir")
    parser.add_argument("--seeds", type=int, help="seeds per row, by default the table's own")
    parser.add_argument("--rows", nargs="+", help="rows to run, by default all; see --list")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument(
        "--flags", nargs="*", default=[], help="flags for all runs that read them, without --"
    )
    parser.add_argument(
        "--profiles", action="store_true",
        help="write memory profiles of the rows too, beside the output as ..._profiles.csv",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the rows with their flags")
    parser.add_argument("--plan", action="store_true", help="time the rows, and run nothing")
    given = parser.parse_args(arguments)
    found = catalogue.of_scale(given.scale)
    if given.name not in found:
        parser.error(f"{given.name} has no scale {given.scale}")
    given.experiment = found[given.name]
    if given.seeds is None:
        given.seeds = given.experiment.seeds
    if min(given.seeds, given.jobs) < 1:
        parser.error("--seeds and --jobs must be at least 1")
    rows = {row.name: row for row in given.experiment.rows}
    if unknown := sorted(set(given.rows or ()) - set(rows)):
        parser.error(f"--rows must be among {', '.join(rows)}. Received: {', '.join(unknown)}")
    given.rows = [rows[name] for name in dict.fromkeys(given.rows or rows)]
    name = f"{given.name}_{given.scale}"
    given.workdir = pathlib.Path(given.workdir or f"runs/{name}").expanduser().resolve()
    given.output = pathlib.Path(given.output or given.workdir / f"{name}.csv").expanduser()
    owned = {"seed", "workdir", "pretrained"} | {c for row in given.rows for c in row.columns}
    if taken := sorted(owned & {flag.partition("=")[0] for flag in given.flags}):
        parser.error(f"--flags must not set {', '.join(taken)}: the table's rows or seeds do")
    given.flags = [f"--{flag}" for flag in given.flags]
    return given


def run(given, pool):
    """Times, runs, gathers; `given` is what `parse` returns."""
    experiment, rows = given.experiment, given.rows
    phases = experiment.runs(rows, given.seeds, given.workdir)
    phases = [{n: resolved(f, given.flags) for n, f in part.items()} for part in phases]
    seconds = plan(pool, given, phases[0] | phases[1])
    if given.plan:
        return
    results = {}
    for part in phases:
        results |= runner.run_all(pool, part, given.workdir, seconds)

    def of_seeds(results, name):
        return [results[f"{name}_{seed}"] for seed in range(given.seeds)]

    shared = {row.name: experiment.pretraining_of(row) for row in rows}
    found = {row.name: of_seeds(results, row.name) for row in rows}
    before = {
        row: of_seeds(results, name) for row, name in shared.items() if f"{name}_0" in results
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    places = (*config.PLACES, "manual_dir")
    common = [flag for flag in given.flags if flag[2:].partition("=")[0] not in places]
    rows = [dataclasses.replace(row, flags=[*row.flags, *common]) for row in rows]
    gather.write(given.output, experiment.gather(rows, found, before))
    print(f"Written: {given.output}")
    if given.profiles:
        profiles = runner.profile_all(pool, phases[1], given.workdir)
        found = {row.name: of_seeds(profiles, row.name) for row in rows}
        path = given.output.with_name(f"{given.output.stem}_profiles.csv")
        gather.write(path, gather.profiles(found))
        print(f"Written: {path}")


def plan(pool, given, runs):
    """Times one seed of every row and prints what all take; kept in `plan.json` of the workdir.

    Returns:
        dict from a run's name to its seconds of training.
    """
    path = given.workdir / "plan.json"
    known = {}
    with contextlib.suppress(FileNotFoundError, ValueError):  # of a damaged one the times are lost
        known = dict(json.loads(path.read_text()))
    first = {name: flags for name, flags in runs.items() if name.endswith("_0")}
    missing = {n: f for n, f in first.items() if known.get(n, {}).get("flags") != f}
    for name, phases in runner.measure(pool, missing).items():
        known[name] = {"flags": first[name], "phases": phases}
    given.workdir.mkdir(parents=True, exist_ok=True)
    workdir.write_text(path, json.dumps(known, indent=1))
    seconds = {}
    for name in runs:
        row = f"{name.rpartition('_')[0]}_0"
        found = known[row]["phases"]
        seconds[name] = sum(steps * each for steps, each in found.values())
        if name == row:
            text = ", ".join(f"{p} {n} steps of {s:.3f} s" for p, (n, s) in found.items())
            print(f"{row}: {text}: {runner.duration(seconds[row])}")
    whole = runner.duration(sum(seconds.values()) / given.jobs)
    print(f"{given.experiment.title}: {len(runs)} runs, {given.jobs} at a time: about {whole}, "
          "evaluations not counted", flush=True)  # fmt: skip
    return seconds


def resolved(flags, common):
    """Flags of a run, flagfiles read, and those of the flags for all runs that this one reads."""
    given = settings(flags)
    unread = set(config.unread(given["method"]))
    if given["task"] not in ("dbpedia", "stanford_dogs"):
        unread.add("manual_dir")
    common = [flag for flag in common if flag.removeprefix("--").partition("=")[0] not in unread]
    return [*flagfiles.expand_flagfiles(flags, local=False), *common]
