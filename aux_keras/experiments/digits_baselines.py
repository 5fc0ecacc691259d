"""The paper's baselines, and its method on other cells, on digits.

`python -m aux_keras.experiments.digits_baselines --workdir=runs/baselines
--output=results/digits_baselines.csv`

Every model trains as its flagfile says: the budgets differ.
"""

from aux_keras.experiments import table

METHODS = ("irnn", "urnn", "transformer", "tdmca", "r_irnn", "r_gru", "r_urnn")

if __name__ == "__main__":
    flags = {method: [f"--flagfile=configs/digits_{method}.cfg"] for method in METHODS}
    table.compare(__doc__.splitlines()[0], flags, seeds=3)
