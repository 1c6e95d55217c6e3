"""The parameters of a deep Boltzmann machine, which its estimators document: one constructor for both."""

from __future__ import annotations

from sklearn.base import BaseEstimator


class DBMParameters(BaseEstimator):
    """The constructor, which stores and does nothing else."""

    def __init__(
        self,
        hidden_layer_sizes=(500, 1000),
        *,
        learning_rate=0.02,
        batch_size=10,
        n_iter=10,
        verbose=0,
        random_state=None,
        n_gibbs_steps=1,
        n_chains=100,
        momentum=0.0,
        l1=0.0,
        l2=0.0,
        max_norm=None,
        learning_rate_schedule="constant",
        n_gibbs_steps_schedule="constant",
        centered=True,
        initial_hidden_bias=0.0,
        mean_field_tol=1e-3,
        mean_field_max_updates=30,
        mean_field_damping=0.5,
        pretraining_n_iter=0,
        pretraining_learning_rate=0.05,
        pretraining_n_gibbs_steps=1,
        pretraining_momentum=0.0,
        pretraining_sparsity_target=None,
        pretraining_sparsity_cost=0.01,
        shuffle=True,
        callbacks=None,
        warm_start=False,
        device="auto",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.max_norm = max_norm
        self.learning_rate_schedule = learning_rate_schedule
        self.n_gibbs_steps_schedule = n_gibbs_steps_schedule
        self.centered = centered
        self.initial_hidden_bias = initial_hidden_bias
        self.mean_field_tol = mean_field_tol
        self.mean_field_max_updates = mean_field_max_updates
        self.mean_field_damping = mean_field_damping
        self.pretraining_n_iter = pretraining_n_iter
        self.pretraining_learning_rate = pretraining_learning_rate
        self.pretraining_n_gibbs_steps = pretraining_n_gibbs_steps
        self.pretraining_momentum = pretraining_momentum
        self.pretraining_sparsity_target = pretraining_sparsity_target
        self.pretraining_sparsity_cost = pretraining_sparsity_cost
        self.shuffle = shuffle
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device
