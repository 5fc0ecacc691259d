"""Data sets as sequences: TensorFlow Datasets, transforms, and the `tf.data` pipeline."""
