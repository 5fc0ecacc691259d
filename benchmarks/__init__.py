"""Time and memory of training steps, beside stock Keras."""
