"""scikit-learn faces of the models."""

from fastbm.estimators.bigan import BiGAN
from fastbm.estimators.boltzmann import BoltzmannMachine
from fastbm.estimators.dcgan import DCGAN
from fastbm.estimators.deep_belief_classifier import DeepBeliefClassifier
from fastbm.estimators.deep_belief_network import DeepBeliefNetwork
from fastbm.estimators.deep_boltzmann_classifier import DeepBoltzmannClassifier
from fastbm.estimators.deep_boltzmann_machine import DeepBoltzmannMachine
from fastbm.estimators.gan import GAN
from fastbm.estimators.gaussian_rbm import GaussianRBM
from fastbm.estimators.rbm import BernoulliRBM
from fastbm.estimators.rbm_classifier import RBMClassifier
from fastbm.estimators.stacked_rbm import StackedRBM

__all__ = [
    "DCGAN",
    "GAN",
    "BernoulliRBM",
    "BiGAN",
    "BoltzmannMachine",
    "DeepBeliefClassifier",
    "DeepBeliefNetwork",
    "DeepBoltzmannClassifier",
    "DeepBoltzmannMachine",
    "GaussianRBM",
    "RBMClassifier",
    "StackedRBM",
]
