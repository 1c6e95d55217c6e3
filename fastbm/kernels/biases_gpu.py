"""The step of both biases, and their copies, on the GPU, in one launch."""

from fastbm.kernels.cuda_gpu import constant, launch


def step_biases(
    visible_bias, hidden_bias, visible_gradient, hidden_gradient, visible_velocity, hidden_velocity, visible_copy, hidden_copy,
    *, learning_rate, momentum,
):  # fmt: skip
    has_velocity, none = hidden_velocity.size > 0, constant(0.0, "float32")
    launch(
        "ascent", "step_biases", visible_bias.size + hidden_bias.size, visible_bias, hidden_bias, visible_gradient,
        hidden_gradient, *((visible_velocity, hidden_velocity) if has_velocity else (none, none)), visible_copy, hidden_copy,
        visible_bias.size, hidden_bias.size, int(has_velocity), float(learning_rate), float(momentum),
    )  # fmt: skip
