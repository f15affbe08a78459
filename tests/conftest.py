import hw2  # noqa: F401  before any test imports Keras: it chooses TensorFlow's kernels

# isort: split
import keras

keras.config.disable_traceback_filtering()  # its wrapper around every call takes a fifth of the time of tracing
