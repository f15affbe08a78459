"""Combinations of the predictions of finished runs."""

from hw2.experiments.schema import Ensemble

EXPERIMENTS = {
    # Compared with its members, which differ only in their seeds.
    "ensemble_scratch_final": Ensemble(
        title="three final nets combined",
        question="How much better are three seeds of one network than one?",
        members=("scratch_final", "scratch_final-seed1", "scratch_final-seed2"),
    ),
    # Compared with ensemble_scratch_final, which has as many members. VGG16 is less accurate than the final net, but
    # networks of different architecture and pretraining make different errors.
    "ensemble_mixed": Ensemble(
        title="two final nets and VGG16 combined",
        question="Does an ensemble gain more when one of its networks differs and was pretrained on ImageNet?",
        members=("scratch_final", "scratch_final-seed1", "vgg16_upsampled_full"),
    ),
}
