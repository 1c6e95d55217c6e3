"""scikit-learn faces of the models."""

from fastbm.estimators.rbm import BernoulliRBM

__all__ = ["BernoulliRBM"]
