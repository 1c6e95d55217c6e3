"""Other libraries' ways to do the same work, for comparison only; nothing in fastbm computes with them.

Each is written as its own users would write it at its best: float32, no copies that can be avoided, and as many threads as
fastbm's kernels have. JAX and thrml take every core that the process may use, which cannot be changed once they are imported.
Packages are imported when a peer is made: one that is missing raises ImportError there.

* ``GIBBS[name](weights, visible_bias, hidden_bias, v0)`` returns ``run(n_steps)``, which makes `n_steps` sweeps of its chains,
  v → h → v, beginning at the rows of `v0`, and returns their visible states;
* ``GRAPHS[name](n_units, first, second, couplings, blocks, n_chains)`` returns ``run(n_sweeps)``, which makes sweeps of general
  machines of spins ±1, block by block, and returns their states;
* ``PCD[name](X, n_hidden, batch_size)`` returns ``run()``, which trains a new machine by PCD-1, with as many chains as a
  minibatch has rows, for one pass over `X`, and returns scikit-learn's estimator, or weights, visible and hidden biases.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

Run = Callable[[int], object]
"""Does a number of steps."""
LEARNING_RATE = 0.05
LARGEST_GRAPH = 500_000
"""Couplings up to which it is worth waiting until thrml has made its graph, of which every edge is a Python object."""
MOST_BLOCKS = 100
"""Blocks of a general machine up to which it is worth waiting until JAX has compiled a sweep."""


def sklearn_gibbs(weights, visible_bias, hidden_bias, v0):
    """scikit-learn's own `gibbs`, with weights set by hand in the order that its `fit` leaves them in."""
    from sklearn.neural_network import BernoulliRBM

    share_blas_threads()
    model = BernoulliRBM(weights.shape[1], random_state=0)
    model.components_ = np.asfortranarray(weights.T)
    model.intercept_visible_, model.intercept_hidden_ = visible_bias, hidden_bias
    v = v0

    def run(n_steps):
        nonlocal v
        for _ in range(n_steps):
            v = model.gibbs(v).astype(np.float32)  # it returns booleans, which its next product would be slower with
        return v

    return run


def sklearn_pcd(X, n_hidden, batch_size):
    """scikit-learn's own `fit`."""
    from sklearn.neural_network import BernoulliRBM

    share_blas_threads()
    model = BernoulliRBM(n_hidden, learning_rate=LEARNING_RATE, batch_size=batch_size, n_iter=1, random_state=0)
    return lambda: model.fit(X)


def sklearn_defaults(X):
    """scikit-learn's own `fit` as it comes, for one pass."""
    from sklearn.neural_network import BernoulliRBM

    share_blas_threads()
    model = BernoulliRBM(n_iter=1, random_state=0)
    return lambda: model.fit(X)


def share_blas_threads():
    """Let NumPy's products use as many threads as fastbm's kernels."""
    from threadpoolctl import threadpool_limits

    from fastbm.kernels.threads_cpu import n_threads

    threadpool_limits(n_threads(), user_api="blas")


def torch_gibbs(how, weights, visible_bias, hidden_bias, v0):
    """PyTorch, with both orientations of the weights contiguous."""
    torch, draw = _torch(how)
    to_hidden, to_visible = torch.tensor(weights), torch.tensor(np.ascontiguousarray(weights.T))
    a, b, v = (torch.tensor(array) for array in (visible_bias, hidden_bias, v0))

    @torch.inference_mode()
    def run(n_steps):
        nonlocal v
        for _ in range(n_steps):
            h = draw(torch.addmm(b, v, to_hidden).sigmoid_())
            v = draw(torch.addmm(a, h, to_visible).sigmoid_())
        return v

    return run


def torch_pcd(how, X, n_hidden, batch_size):
    """PyTorch, every update in place."""
    torch, draw = _torch(how)
    X = torch.tensor(X)

    @torch.inference_mode()
    def run():
        W, a, b = 0.01 * torch.randn(X.shape[1], n_hidden), torch.zeros(X.shape[1]), torch.zeros(n_hidden)
        h = torch.zeros(batch_size, n_hidden)
        for v_positive in X.split(batch_size):
            h_positive = torch.addmm(b, v_positive, W).sigmoid_()
            v_negative = draw(torch.addmm(a, h, W.T).sigmoid_())
            h_negative = torch.addmm(b, v_negative, W).sigmoid_()
            W.addmm_(v_positive.T, h_positive, alpha=LEARNING_RATE / len(v_positive))
            W.addmm_(v_negative.T, h_negative, alpha=-LEARNING_RATE / len(v_negative))
            a.add_(v_positive.mean(0) - v_negative.mean(0), alpha=LEARNING_RATE)
            b.add_(h_positive.mean(0) - h_negative.mean(0), alpha=LEARNING_RATE)
            h = draw(h_negative)
        return W, a, b

    return run


def _torch(how):
    """Return PyTorch, with as many threads as fastbm has, and a function that draws states from probabilities."""
    import torch

    from fastbm.kernels.threads_cpu import n_threads

    torch.set_num_threads(n_threads())
    torch.manual_seed(0)
    draws = {"bernoulli": torch.bernoulli, "rand": lambda p: torch.rand_like(p).lt_(p)}
    return torch, draws[how]


def jax_gibbs(weights, visible_bias, hidden_bias, v0):
    """JAX on the CPU, all sweeps of a call in one compiled loop."""
    import jax

    cpu = jax.devices("cpu")[0]
    W, a, b, v, key = jax.device_put((weights, visible_bias, hidden_bias, v0, jax.random.key(0)), cpu)

    def draw(key, logits):
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)

    def sweep(_, state):
        v, key = state
        key, hidden_key, visible_key = jax.random.split(key, 3)
        h = draw(hidden_key, v @ W + b)
        return draw(visible_key, h @ W.T + a), key

    advance = jax.jit(lambda v, key, n_steps: jax.lax.fori_loop(0, n_steps, sweep, (v, key)))

    def run(n_steps):
        nonlocal v, key
        v, key = jax.block_until_ready(advance(v, key, n_steps))
        return v

    return run


def jax_pcd(X, n_hidden, batch_size):
    """JAX on the CPU, a pass in one compiled scan over minibatches; the machine is made inside: there is nothing to donate."""
    import jax

    n_whole = len(X) // batch_size * batch_size
    whole = X[:n_whole].reshape(-1, batch_size, X.shape[1])
    whole, rest, key = jax.device_put((whole, X[n_whole:], jax.random.key(0)), jax.devices("cpu")[0])

    @jax.jit
    def epoch(key, whole, rest):
        key, weights_key = jax.random.split(key)
        W = 0.01 * jax.random.normal(weights_key, (X.shape[1], n_hidden))
        a, b, h = (jax.numpy.zeros(shape) for shape in (X.shape[1], n_hidden, (batch_size, n_hidden)))
        state, _ = jax.lax.scan(_jax_update, (W, a, b, h, key), whole)
        state, _ = _jax_update(state, rest) if len(rest) else (state, None)
        return state[:3]

    return lambda: jax.block_until_ready(epoch(key, whole, rest))


def _jax_update(state, v_positive):
    """Return the state after an update from one minibatch, and nothing to collect, as `jax.lax.scan` wants it."""
    import jax

    W, a, b, h, key = state
    key, visible_key, hidden_key = jax.random.split(key, 3)
    h_positive = jax.nn.sigmoid(v_positive @ W + b)
    v_negative = jax.random.bernoulli(visible_key, jax.nn.sigmoid(h @ W.T + a)).astype(W.dtype)
    h_negative = jax.nn.sigmoid(v_negative @ W + b)
    W = W + LEARNING_RATE * (v_positive.T @ h_positive / len(v_positive) - v_negative.T @ h_negative / len(v_negative))
    a = a + LEARNING_RATE * (v_positive.mean(0) - v_negative.mean(0))
    b = b + LEARNING_RATE * (h_positive.mean(0) - h_negative.mean(0))
    return (W, a, b, jax.random.bernoulli(hidden_key, h_negative).astype(W.dtype), key), None


def thrml_gibbs(weights, visible_bias, hidden_bias, v0):
    """thrml: the machine as an Ising model, with spins ±1 = 2 v - 1, on a bipartite graph; one program, mapped over chains."""
    import jax
    from jax import numpy as jnp
    from thrml import Block, SpinNode
    from thrml.block_sampling import sample_blocks
    from thrml.models import IsingEBM, IsingSamplingProgram

    visible, hidden = ([SpinNode() for _ in range(n)] for n in weights.shape)
    edges = [(i, j) for i in visible for j in hidden]
    fields = np.concatenate([visible_bias / 2 + weights.sum(axis=1) / 4, hidden_bias / 2 + weights.sum(axis=0) / 4])
    model = IsingEBM(visible + hidden, edges, jnp.asarray(fields), jnp.asarray(weights.ravel() / 4), jnp.ones(()))
    program = IsingSamplingProgram(model, [Block(hidden), Block(visible)], [])

    def sweep(_, state):
        key, blocks = state
        key, now = jax.random.split(key)
        return key, sample_blocks(now, blocks, [], program, [sampler.init() for sampler in program.samplers])[0]

    advance = jax.jit(jax.vmap(lambda n_steps, *state: jax.lax.fori_loop(0, n_steps, sweep, state), (None, 0, 0)))
    keys = jax.random.split(jax.random.key(0), len(v0))
    blocks = [jnp.zeros((len(v0), weights.shape[1]), bool), jnp.asarray(v0 != 0)]

    def run(n_steps):
        nonlocal keys, blocks
        keys, blocks = jax.block_until_ready(advance(n_steps, keys, blocks))
        return blocks[1]

    return run


def thrml_sweeps(n_units, first, second, couplings, blocks, n_chains):
    """thrml's block Gibbs sampling of spins without fields; one program, mapped over chains."""
    import jax
    from jax import numpy as jnp
    from thrml import Block, SpinNode
    from thrml.block_sampling import sample_blocks
    from thrml.models import IsingEBM, IsingSamplingProgram

    spins = [SpinNode() for _ in range(n_units)]
    edges = [(spins[i], spins[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    model = IsingEBM(spins, edges, jnp.zeros(n_units), jnp.asarray(couplings, jnp.float32), jnp.ones(()))
    nodes = [Block([spins[i] for i in block.tolist()]) for block in blocks]
    program = IsingSamplingProgram(model, nodes, [])

    def sweep(_, state):
        key, states = state
        key, now = jax.random.split(key)
        return key, sample_blocks(now, states, [], program, [sampler.init() for sampler in program.samplers])[0]

    advance = jax.jit(jax.vmap(lambda n_sweeps, *state: jax.lax.fori_loop(0, n_sweeps, sweep, state), (None, 0, 0)))
    keys = jax.random.split(jax.random.key(0), n_chains)
    states = [jax.random.bernoulli(jax.random.key(k), shape=(n_chains, len(block))) for k, block in enumerate(blocks)]

    def run(n_sweeps):
        nonlocal keys, states
        keys, states = jax.block_until_ready(advance(n_sweeps, keys, states))
        return states

    return run


def numpy_sweeps(n_units, first, second, couplings, blocks, n_chains):
    """NumPy: a row of the matrix of couplings times the spins of all chains, float32, for each unit in turn."""
    matrix = np.zeros((n_units, n_units), np.float32)
    matrix[first, second] = matrix[second, first] = 2 * couplings
    rng = np.random.default_rng(0)
    spins = np.where(rng.random((n_units, n_chains)) < 0.5, np.float32(1), np.float32(-1))

    def run(n_sweeps):
        for _ in range(n_sweeps):
            for unit in np.concatenate(blocks):
                on = rng.random(n_chains, np.float32) * (1 + np.exp(-(matrix[unit] @ spins))) < 1
                spins[unit] = 2 * on - 1
        return spins

    return run


GIBBS = {
    "scikit-learn": sklearn_gibbs,
    "torch.bernoulli": partial(torch_gibbs, "bernoulli"),
    "torch.rand": partial(torch_gibbs, "rand"),
    "jax": jax_gibbs,
    "thrml": thrml_gibbs,
}
GRAPHS = {"thrml": thrml_sweeps, "numpy": numpy_sweeps}
PCD = {
    "scikit-learn": sklearn_pcd,
    "torch.bernoulli": partial(torch_pcd, "bernoulli"),
    "torch.rand": partial(torch_pcd, "rand"),
    "jax": jax_pcd,
}
