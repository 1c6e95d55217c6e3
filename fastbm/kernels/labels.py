"""Sweeps of a restricted machine with labels by the kernels of its parts: each visible update holds labels drawn before."""


def update_by_update(
    gibbs, draw_softmax, layers, up, down, biases, beta, free, loose, tables, *, n_labels, start, stop, **numbers
):  # fmt: skip
    """Run block updates `start` … `stop` - 1, one call of `gibbs` each, or two where no labels come between."""
    update, first = start, up[0].shape[0] - n_labels
    while update < stop:
        if update % 2:
            draw_softmax(
                layers[0], layers[1:], up, biases[0], beta, loose, layer=0, first=first, n_classes=n_labels, update=update,
                **numbers,
            )  # fmt: skip
        end = min(update + 1 + update % 2, stop)
        gibbs(layers, up, down, biases, beta, free, tables, start=update, stop=end, **numbers)
        update = end
