"""An experiment: rows of flags, and how their results become a table."""

import dataclasses
from collections.abc import Callable

from aux_keras import flags as flagfiles
from aux_keras.experiments import gather as gathering


def settings(flags):
    """What flags set, `{name: text}`, with the flagfiles of the package read; the last one wins."""
    expanded = flagfiles.expand_flagfiles(flags, local=False)
    return dict(flag.removeprefix("--").partition("=")[::2] for flag in expanded)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        columns: dict, what tells it from the others, such as `{"task": "mnist", "method": "r"}`.
        flags: list of flags of `train.py`.
        paper: float, test accuracy in % that the paper reports, or None.
    """

    columns: dict
    flags: list
    paper: float | None = None

    @property
    def name(self):
        """The row's name, and that of its runs' folders without the seed."""
        return "_".join(map(str, self.columns.values()))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes:
        title: one line.
        seeds: int, default number of seeds.
        rows: list of `Row`.
        shared: bool, whether rows that differ in their supervised truncation alone share one
            pretraining per seed.
        gather: function of rows and results per row that returns the lines of the table.
    """

    title: str
    seeds: int
    rows: list
    shared: bool = False
    gather: Callable = gathering.accuracies

    def runs(self, rows, seeds, workdir):
        """Flags of every run, `{name: flags}`, in two parts: the second starts from the first.

        Args:
            rows: list of `Row`, some of the experiment's.
            seeds: int.
            workdir: absolute path of the folder of the runs.
        """
        pretraining, runs = {}, {}
        for seed in range(seeds):
            for row in rows:
                flags = [*row.flags, f"--seed={seed}"]
                if self.shared and not any("lstm" in str(v) for v in row.columns.values()):
                    shared = self.pretraining_of(row)
                    name = f"{shared}_{seed}"
                    first = next(r for r in self.rows if self.pretraining_of(r) == shared)
                    pretraining[name] = [*first.flags, f"--seed={seed}", "--steps=0"]
                    # The gap at the end of the pretraining is the table's.
                    flags += [f"--pretrained={workdir / name}", "--memory_gap=false"]
                runs[f"{row.name}_{seed}"] = flags
        return pretraining, runs

    def pretraining_of(self, row):
        """Name of the pretraining that a row shares, without the seed."""
        own = [str(v) for k, v in row.columns.items() if k != "supervised_truncation"]
        return "_".join([*own, "pretraining"])
