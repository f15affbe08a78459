"""Image classification and segmentation with Keras 3, from data to results."""

import os

# By default TensorFlow uses its oneDNN kernels only on processors with AVX512-VNNI or later. On older ones they make
# training two to four times as fast (see scripts/benchmark.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# By default both backends reserve nearly all of a GPU's memory, and a second process, such as the demo, finds none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
