"""scikit-learn faces of the models."""

from fastbm.estimators.gaussian_rbm import GaussianRBM
from fastbm.estimators.rbm import BernoulliRBM

__all__ = ["BernoulliRBM", "GaussianRBM"]
