"""Loops over time: the machinery under the layers."""
