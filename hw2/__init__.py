"""Image classification and segmentation with Keras 3, from data to dumped results."""

import os

# TensorFlow uses its oneDNN kernels unasked only on processors with instructions for neural networks (AVX512-VNNI and
# later). On the ones before, they make training two to four times as fast (see scripts/benchmark.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Both backends take nearly all of a GPU's memory at once, and a second process, or the demo beside, finds none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
