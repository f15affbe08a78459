"""Image classification and segmentation with Keras 3, from data to results."""

import os

# By default both backends reserve nearly all of a GPU's memory, and a second process, such as the demo, finds none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
