"""Trains a model: `python train.py --flagfile=configs/digits_r.cfg --workdir=DIR`."""

import sys

from aux_keras.cli import train

if __name__ == "__main__":
    train("train.py", sys.argv[1:])
