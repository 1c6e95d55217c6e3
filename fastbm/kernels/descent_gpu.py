"""Steps of parameters down their gradients, on the GPU, in one launch each."""

from fastbm.kernels.cuda_gpu import launch


def adam(parameters, gradients, first, second, *, rate, beta_1, beta_2, scale, epsilon, l2, n_decayed):
    numbers = [float(number) for number in (rate, 1 - beta_1, beta_2, 1 - beta_2, scale, epsilon, l2)]
    launch(
        "networks", "adam", parameters.size, parameters, gradients, first, second, parameters.size, int(n_decayed), *numbers
    )  # fmt: skip


def descend(parameters, gradients, velocity, *, rate, momentum, l2, n_decayed):
    numbers = [float(number) for number in (rate, momentum, l2)]
    launch("networks", "descend", parameters.size, parameters, gradients, velocity, parameters.size, int(n_decayed), *numbers)
