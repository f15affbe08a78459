"""The fastest number format of this machine, its name, and the memory that a run takes."""

import contextlib
import os
import platform
import sys
from pathlib import Path

import keras


def choose_precision():
    """Return the Keras dtype policy for this machine: "mixed_bfloat16", "mixed_float16" or "float32".

    GPUs have bfloat16 units since Ampere and float16 units since Volta. On a CPU, bfloat16 is faster with AMX or
    AVX512-BF16 and TensorFlow's oneDNN kernels; otherwise it is emulated and slower than float32.
    """
    capability = gpu_compute_capability()
    if capability is not None:
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    has_units = cpu_flags() & {"amx_bf16", "avx512_bf16"}
    return "mixed_bfloat16" if has_units and keras.backend.backend() == "tensorflow" else "float32"


def gpu_compute_capability():
    """Return the compute capability of the first GPU that the backend sees, such as (9, 0), or None without one."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) if gpus else None
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return tuple(int(part) for part in device.compute_capability.split(".")) if device.platform == "gpu" else None
    return None


def gpu_is_unseen(driver=Path("/proc/driver/nvidia/version")):
    """Return whether this machine has an NVIDIA GPU that the backend does not see, unless it was hidden on purpose.

    driver: file that Linux has where the GPU's driver is loaded.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return driver.exists() and not hidden and gpu_compute_capability() is None


def cpu_flags():
    """Return the set of this CPU's feature flags, named as by Linux; empty on other systems."""
    lines = _cpuinfo()
    return set(lines["flags"].split()) if "flags" in lines else set()


def device_name():
    """Return the name of the GPU or, without one, of the CPU with its number of cores."""
    if gpu_compute_capability() is not None:
        if keras.backend.backend() == "jax":
            import jax

            return jax.devices()[0].device_kind
        import tensorflow as tf

        return tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]

    model = _cpuinfo().get("model name") or platform.processor() or platform.machine()
    formats = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {usable} cores" + (f" ({', '.join(formats)})" if formats else "")


def _cpuinfo():
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def resident_share():
    """Return the share of the machine's memory that this process holds, 0 where the system does not say."""
    with contextlib.suppress(OSError, StopIteration):
        return _kib("/proc/self/status", "VmRSS:") / _kib("/proc/meminfo", "MemTotal:")
    return 0.0


def _kib(path, field):
    """Return a field of a file of Linux such as `/proc/meminfo`. Raises OSError or StopIteration where it is not."""
    lines = Path(path).read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def reset_peak_memory():
    """Begin a new measurement of peak memory on Linux; elsewhere `peak_memory_mib` is that of the whole process."""
    # "5" resets VmHWM, see proc(5)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib():
    """Return the greatest resident size of this process since `reset_peak_memory`, in MiB; 0 on Windows.

    It includes memory that earlier runs of the same process have not returned, and pages of memory-mapped features that
    the system happens to keep. It does not include a GPU's own memory.
    """
    with contextlib.suppress(OSError, StopIteration):
        return _kib("/proc/self/status", "VmHWM:") / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
