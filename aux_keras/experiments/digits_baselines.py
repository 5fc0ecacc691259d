"""The paper's baselines, and its method on other cells, on digits.

`python -m aux_keras.experiments.digits_baselines --workdir=runs/baselines
--output=results/digits_baselines.csv`

Every model trains as its flagfile says: the budgets differ.
"""

from aux_keras.experiments import runner, table

METHODS = ("irnn", "urnn", "transformer", "tdmca", "r_irnn", "r_gru", "r_urnn")


def main():
    """Runs what is not run yet and writes mean and standard deviation over seeds."""
    arguments = table.arguments(__doc__.splitlines()[0], seeds=3)
    seeds = range(arguments.seeds)
    runs = {
        f"{method}_{seed}": [f"--flagfile=configs/digits_{method}.cfg", f"--seed={seed}"]
        for seed in seeds
        for method in METHODS
    }
    results = runner.run_all(runs, arguments.workdir, arguments.jobs, arguments.flags)
    rows = []
    for method in METHODS:
        found = [results[f"{method}_{seed}"] for seed in seeds]
        rows.append(
            {
                "method": method,
                **table.summary([result["test_accuracy"] for result in found]),
                "weights": found[0]["weights"],
                "steps": sum(found[0]["steps"].values()),
                "minutes": f"{sum(result['seconds'] for result in found) / 60 / len(found):.1f}",
                "flags": f"--flagfile=configs/digits_{method}.cfg",
            }
        )
    table.write(arguments.output, rows)


if __name__ == "__main__":
    main()
