"""Keras models, and the factory that makes them from a configuration."""
