"""The step of both biases, and their copies."""


def step_biases(
    visible_bias, hidden_bias, visible_gradient, hidden_gradient, visible_velocity, hidden_velocity, visible_copy, hidden_copy,
    *, learning_rate, momentum,
):  # fmt: skip
    _step(visible_bias, visible_gradient, visible_velocity, visible_copy, float(learning_rate), float(momentum))
    _step(hidden_bias, hidden_gradient, hidden_velocity, hidden_copy, float(learning_rate), float(momentum))


def _step(bias, gradient, velocity, copy, learning_rate, momentum):
    step = learning_rate * gradient
    if velocity.size:
        velocity *= momentum
        velocity += step
        step = velocity
    bias += step
    copy[: bias.size] = bias
