"""The pages of this folder as a site: `make docs`."""

project = "luperson_jax"
author = "the authors of luperson_jax"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_site", "notebooks"]
html_theme = "furo"
html_title = "luperson_jax"
html_show_sphinx = False
html_copy_source = False
highlight_language = "text"
myst_heading_anchors = 4
nitpicky = True
