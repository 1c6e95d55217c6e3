"""Settings of Sphinx; build with ``sphinx-build -W docs docs/_build``."""

import fastbm

project = "fastbm"
author = "The fastbm developers"
copyright = author
version = release = fastbm.__version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 2  # links to headings, as plain Markdown has them
numpydoc_show_class_members = False
autodoc_member_order = "bysource"


def skip_foreign_members(app, what, name, member, skip, options):
    """Leave out what an estimator inherits from scikit-learn; its documentation is scikit-learn's."""
    return skip or not (getattr(member, "__module__", None) or "fastbm").startswith("fastbm")


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign_members)
