"""The integer inputs of a row of units, from packed states: sums of the coupling rows of the units that are on."""

from numba import int32, njit, uint64

from fastbm.kernels.bits_cpu import count_ones, lowest_one


@njit
def follow(inputs, held, state, couplings, rows):
    """Bring `inputs`, now those of the states `held`, to those of `state`; `held` becomes `state`.

    Integer sums may be updated for ever without error, so only units that changed are added or taken away, unless
    starting again from zero costs less. `rows` is scratch for the indices of a row of units. Return how many rows of couplings
    that took.
    """
    changed, on = uint64(0), uint64(0)
    for word in range(state.size):
        changed += count_ones(held[word] ^ state[word])
        on += count_ones(state[word])
    if changed > on:
        start_from_zero(inputs, held)
    add_rows(inputs, couplings, rows, list_changes(rows, state, held))
    subtract_rows(inputs, couplings, rows, list_changes(rows, held, state))
    for word in range(state.size):
        held[word] = state[word]
    return min(changed, on)


@njit
def start_from_zero(inputs, held):
    """Set the inputs to those of units that are all off."""
    for unit in range(inputs.size):
        inputs[unit] = int32(0)
    for word in range(held.size):
        held[word] = uint64(0)


@njit
def list_changes(rows, state, other):
    """List the units on in `state` and off in `other`; return how many."""
    count = 0
    for word in range(state.size):
        bits = state[word] & ~other[word]
        while bits != uint64(0):
            rows[count] = 64 * word + lowest_one(bits)
            count += 1
            bits &= bits - uint64(1)
    return count


@njit
def add_rows(inputs, couplings, rows, count):
    """Add the first `count` listed rows of couplings; eight at a time, so that `inputs` is read and written seldom."""
    done = 0
    while done + 8 <= count:
        a, b, c, d = couplings[rows[done]], couplings[rows[done + 1]], couplings[rows[done + 2]], couplings[rows[done + 3]]
        e, f, g, h = couplings[rows[done + 4]], couplings[rows[done + 5]], couplings[rows[done + 6]], couplings[rows[done + 7]]
        for unit in range(inputs.size):
            inputs[unit] += ((a[unit] + b[unit]) + (c[unit] + d[unit])) + ((e[unit] + f[unit]) + (g[unit] + h[unit]))
        done += 8
    while done < count:
        a = couplings[rows[done]]
        for unit in range(inputs.size):
            inputs[unit] += a[unit]
        done += 1


@njit
def subtract_rows(inputs, couplings, rows, count):
    """Take the first `count` listed rows of couplings away."""
    done = 0
    while done + 4 <= count:
        a, b, c, d = couplings[rows[done]], couplings[rows[done + 1]], couplings[rows[done + 2]], couplings[rows[done + 3]]
        for unit in range(inputs.size):
            inputs[unit] -= (a[unit] + b[unit]) + (c[unit] + d[unit])
        done += 4
    while done < count:
        a = couplings[rows[done]]
        for unit in range(inputs.size):
            inputs[unit] -= a[unit]
        done += 1
