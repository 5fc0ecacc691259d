"""`python -m aux_keras`: the command `aux-keras` where the package is not installed."""

from aux_keras.cli import main

main()
