"""Trained models for others: SavedModels, ONNX, and predictions at the command line."""
