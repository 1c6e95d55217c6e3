"""What a unit is: its mean given its logit, and the logarithm of its sum over states."""
