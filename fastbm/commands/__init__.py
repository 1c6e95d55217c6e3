"""The commands of `python -m fastbm`."""
