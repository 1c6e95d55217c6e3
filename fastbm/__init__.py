"""Fast, exact sampling and training of Boltzmann machines."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "DCGAN": "fastbm.estimators",
    "GAN": "fastbm.estimators",
    "BernoulliRBM": "fastbm.estimators",
    "BiGAN": "fastbm.estimators",
    "BoltzmannMachine": "fastbm.estimators",
    "DeepBeliefClassifier": "fastbm.estimators",
    "DeepBeliefNetwork": "fastbm.estimators",
    "DeepBoltzmannClassifier": "fastbm.estimators",
    "DeepBoltzmannMachine": "fastbm.estimators",
    "GaussianRBM": "fastbm.estimators",
    "RBMClassifier": "fastbm.estimators",
    "StackedRBM": "fastbm.estimators",
    "datasets": "fastbm.datasets",
    "evaluation": "fastbm.evaluation",
    "latent": "fastbm.latent",
    "plotting": "fastbm.plotting",
}

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
    "__version__",
    "datasets",
    "evaluation",
    "latent",
    "plotting",
]


def __getattr__(name):  # nothing heavy is imported before it is used
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fastbm' has no attribute {name!r}")
    module = import_module(home)
    return module if home == f"fastbm.{name}" else getattr(module, name)


def __dir__():
    return sorted(set(globals()) | set(__all__))
