"""A dry run takes every phase of a configuration at its real size, without data sets and without keeping anything."""

import keras
import pytest
from small_runs import SCRATCH, VGG16

from hw2.data.batches import Batches
from hw2.experiments import costs
from hw2.experiments.resolve import resolve
from hw2.models.registry import build_model
from hw2.training.dry_run import dry_run


@pytest.fixture
def batches(monkeypatch):
    """The batches of training: list of (images or features, shape of a batch)."""
    seen, known, kept = [], set(), []  # kept, so that no other object gets the same id
    original = Batches.__getitem__

    def spy(self, index):
        batch = original(self, index)
        if self.shuffle and (id(self), index) not in known:  # Keras looks at the first batch before it trains
            known.add((id(self), index))
            kept.append(self)
            seen.append(batch[0].shape)
        return batch

    monkeypatch.setattr(Batches, "__getitem__", spy)
    return seen


def test_one_step_a_phase_at_the_real_batch_size_and_estimates_of_memory(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    took = dry_run(VGG16, "float32")
    assert batches == [(32, 32), (32, 32, 32, 3)]  # cached features of a network of 1/16 the width, then images
    assert took["parameters"] == build_model(VGG16).count_params()
    assert list(took["network_costs"]) == [costs.network_key(VGG16)]
    assert took["cache_mib"] == pytest.approx((96 + 50) * 32 * 2 / 2**20)
    assert took["images_mib"] == pytest.approx((96 + 50) * (32 * 32 * 3 + 8) / 2**20)
    assert took["peak_memory_mib"] > 0 and not list(tmp_path.iterdir())


def test_few_classes_small_images_first_and_a_mirrored_phase(batches):
    took = dry_run(SCRATCH, "float32")
    assert batches == [(16, 32, 32, 3)] * 2  # the network scales them
    assert set(took["network_costs"]) == {costs.network_key(SCRATCH, size) for size in (16, 32)}
    batches.clear()
    mirrored = VGG16 | {"phases": [VGG16["phases"][0] | {"mirrored": True}]}
    assert dry_run(mirrored, "float32")["cache_mib"] == pytest.approx((2 * 96 + 50) * 32 * 2 / 2**20)
    assert batches == [(32, 32)]


# a network without and one with normalisation, cached features, a subset of the classes, a pretrained encoder
REAL = ("scratch_plain", "scratch_residual_10classes", "vgg16_block5", "seg_unet_mobilenetv2_bilinear")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", REAL)
def test_entries_of_the_gpu_budget(name, precision, batches):
    config = resolve(name, "gpu")
    took = dry_run(config, precision)
    assert keras.config.dtype_policy().name == precision
    assert [shape[0] for shape in batches] == [phase["batch_size"] for phase in config["phases"]]
    assert took["parameters"] > 1e5
