"""A step of adversarial training of small networks of dense layers, in one call, whose parts are those of other kernels."""

from numba import float32, int64, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.descent_cpu import PART, numbers_of_adam, run_adam
from fastbm.kernels.latent_cpu import run_draw_latent
from fastbm.kernels.loss_cpu import run_logistic_loss
from fastbm.kernels.perceptron_cpu import run_backward, run_forward, tile
from fastbm.kernels.product_cpu import address


def adversarial_step(
    both, z, room, generator, discriminator, moments, figures, *, pack, normal, key, update, real_target, target, weight,
    of_generator, of_discriminator, moves,
):  # fmt: skip
    run_adversarial_step(
        tile(), both, z, room, generator, discriminator, moments, figures, pack, normal, key[0], key[1], update,
        float(real_target), float(target), float(weight), numbers_of_adam(*of_generator), numbers_of_adam(*of_discriminator),
        moves,
    )  # fmt: skip


@kernel
def run_adversarial_step(
    tile, both, z, room, generator, discriminator, moments, figures, pack, normal, key0, key1, update, real_target, target,
    weight, of_generator, of_discriminator, moves,
):  # fmt: skip
    n_rows, width, depth = z.shape[0], both.shape[1], z.shape[1]
    n_shown, shown_width, none, one = n_rows // pack, pack * width, int64(0), int64(1)  # as in `perceptron_cpu.multiply`
    logits, gradient = room[: 2 * n_shown], room[2 * n_shown : 4 * n_shown]
    at_z, rows, samples, of_samples = address(z), address(both), address(both[n_rows:]), address(room[4 * n_shown :])
    at_logits, at_gradient = address(logits), address(gradient)

    run_draw_latent(none, n_rows, z, normal, key0, key1, none, update, none)
    run_forward(tile, generator, n_rows, at_z, depth, samples, width)
    run_forward(tile, discriminator, 2 * n_shown, rows, shown_width, at_logits, one)
    run_logistic_loss(logits[:n_shown], gradient[:n_shown], figures[:2], real_target, 1.0)
    run_logistic_loss(logits[n_shown:], gradient[n_shown:], figures[2:4], 0.0, 1.0)
    run_backward(tile, discriminator, one, 2 * n_shown, at_gradient, one, rows, shown_width, at_logits, one, none, none, none)
    move(discriminator, moments[2:], of_discriminator)
    if moves:
        run_draw_latent(none, n_rows, z, normal, key0, key1, none, update, one)
        run_forward(tile, generator, n_rows, at_z, depth, samples, width)
        run_forward(tile, discriminator, n_shown, samples, shown_width, at_logits, one)
        run_logistic_loss(logits[:n_shown], gradient[:n_shown], figures[4:6], target, weight)
        run_backward(
            tile, discriminator, none, n_shown, at_gradient, one, samples, shown_width, at_logits, one, of_samples, none,
            n_shown,
        )  # fmt: skip
        run_backward(tile, generator, one, n_rows, of_samples, width, at_z, depth, samples, width, none, none, none)
        move(generator, moments[:2], of_generator)
    else:
        figures[4:] = float32(0)


@njit
def move(network, moments, numbers):
    rate, one_less_beta_1, beta_2, one_less_beta_2, scale, epsilon, l2, n_decayed = numbers
    run_adam(
        0, -(-network[0].size // PART), network[0], network[1], moments[0], moments[1], rate, one_less_beta_1, beta_2,
        one_less_beta_2, scale, epsilon, l2, n_decayed,
    )  # fmt: skip
