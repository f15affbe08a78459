"""Combinations of the predictions of finished runs."""

from hw2.experiments.schema import Ensemble

EXPERIMENTS = {
    # Compared with its members, which differ only in their seeds.
    "ensemble_scratch_final": Ensemble(
        title="three final nets combined",
        question="How much better are three seeds of one network than one?",
        members=("scratch_final", "scratch_final-seed1", "scratch_final-seed2"),
    ),
    # Compared with ensemble_scratch_final: networks of different architecture and pretraining make different errors.
    "ensemble_mixed": Ensemble(
        title="four different nets combined",
        question="Does an ensemble gain more when its networks differ and some of them were pretrained on ImageNet?",
        members=("scratch_final", "scratch_residual", "vgg16_full_augment", "vgg16_upsampled_full"),
    ),
}
