"""What this machine has, as far as it can be pretended."""

import pytest

from hw2 import hardware


@pytest.mark.parametrize(
    "driver, seen, visible, unseen",
    [
        (True, None, None, True),
        (True, None, "0", True),
        (True, (8, 0), None, False),
        (False, None, None, False),
        (True, None, "", False),
        (True, None, "-1", False),
    ],
)
def test_a_gpu_that_the_backend_does_not_see(tmp_path, monkeypatch, driver, seen, visible, unseen):
    """Its driver is there; an empty list of visible devices hides it on purpose."""
    if driver:
        (tmp_path / "version").touch()
    monkeypatch.setattr(hardware, "gpu_compute_capability", lambda: seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpu_is_unseen(tmp_path / "version") is unseen
