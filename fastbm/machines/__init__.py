"""Models: parameters as named tuples, and the mathematics of each."""
