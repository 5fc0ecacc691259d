"""Trained models for others: SavedModels, ONNX, and predictions at the command line."""

FORMATS = ("saved_model", "onnx")  # of an exported model
