"""Layers of networks, written by hand: forward(x) gives y and backward(gradient); parameters of a network are one array."""
