import hw2  # noqa: F401  before any test imports Keras: it chooses TensorFlow's kernels
