import gc
import os

# Most of the time of JAX goes into compiling, in this process and in those that tests start.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# isort: split
import pytest

from hw2 import backend

# at once, as a conftest.py in a folder that is named on the command line may import Keras before any hook is called
backend.set_up_for_training()

LONG = ("test_run.py", "test_train_all.py", "test_app.py", "test_browser.py", "test_report.py")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would put the files with the most tests first
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        prepare_keras()  # in the processes that run tests; the one that deals them out need not import it


def prepare_keras():
    """Import Keras with the settings under which tracing and collecting garbage take least time."""
    import keras

    keras.config.disable_traceback_filtering()  # its wrapper around every call takes a fifth of the time of tracing
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # optimising a graph takes longer than it saves in a few steps
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.collect()
    gc.freeze()  # else each collection looks through everything that these imports made, a fifth of the time of tests


@pytest.fixture(autouse=True)
def float32_again():
    """A test that trains chooses this machine's number format for the whole process; the next one must not get it."""
    yield
    import keras

    keras.config.set_dtype_policy("float32")


def pytest_collection_modifyitems(items):
    """Put the files that take longest first, so that with several workers none of them is still at one in the end."""
    items.sort(key=lambda item: item.path.name not in LONG)
