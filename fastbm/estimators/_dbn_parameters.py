"""The parameters of a deep belief network, which its estimators document: one constructor for both."""

from __future__ import annotations

from sklearn.base import BaseEstimator


class DBNParameters(BaseEstimator):
    """The constructor, which stores and does nothing else."""

    def __init__(
        self,
        hidden_layer_sizes=(500, 500, 2000),
        *,
        learning_rate=0.1,
        batch_size=10,
        n_iter=10,
        verbose=0,
        random_state=None,
        algorithm="pcd",
        n_gibbs_steps=1,
        n_chains=None,
        betas=10,
        momentum=0.0,
        l1=0.0,
        l2=0.0,
        sparsity_target=None,
        sparsity_cost=0.01,
        learning_rate_schedule="constant",
        n_gibbs_steps_schedule="constant",
        centered=False,
        up_down_n_iter=10,
        up_down_learning_rate=0.05,
        top_learning_rate=None,
        up_down_learning_rate_schedule="linear",
        up_down_momentum=0.0,
        up_down_l2=0.0,
        top_algorithm="cd",
        n_top_gibbs_steps=3,
        n_top_gibbs_steps_schedule="constant",
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
        self.algorithm = algorithm
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.betas = betas
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.learning_rate_schedule = learning_rate_schedule
        self.n_gibbs_steps_schedule = n_gibbs_steps_schedule
        self.centered = centered
        self.up_down_n_iter = up_down_n_iter
        self.up_down_learning_rate = up_down_learning_rate
        self.top_learning_rate = top_learning_rate
        self.up_down_learning_rate_schedule = up_down_learning_rate_schedule
        self.up_down_momentum = up_down_momentum
        self.up_down_l2 = up_down_l2
        self.top_algorithm = top_algorithm
        self.n_top_gibbs_steps = n_top_gibbs_steps
        self.n_top_gibbs_steps_schedule = n_top_gibbs_steps_schedule
        self.shuffle = shuffle
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device
