"""Sphinx's settings for the companion; `python -m analysis.companion` lays out its pages."""

from importlib.metadata import distribution

_MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"

project = "FAQD"
html_title = "FAQD companion"
language = "en"
extensions = ["myst_nb", "sphinx.ext.mathjax"]

# Pages open from file:// without network: MathJax is one file that draws with paths, not fonts.
mathjax_path = "tex-svg-full.js"
html_static_path = [
    "companion.css",
    str(distribution("sphinx-mathjax-offline").locate_file(_MATHJAX)),
]
html_css_files = ["companion.css"]

html_theme = "furo"
html_copy_source = False
html_show_copyright = False
# Tables to download, not pages.
exclude_patterns = ["figures/*.md"]
# Quotes and dashes stay as they are written.
smartquotes = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
# Notebooks come executed; what their cells call is the figure's name.
nb_execution_mode = "off"
nb_remove_code_source = True
nb_render_markdown_format = "myst"
