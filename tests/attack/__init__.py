"""Attacks on runs and on what users hand in. Not tests: `make attack` takes an hour."""
