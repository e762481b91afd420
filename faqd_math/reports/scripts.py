"""Sub- and superscripts in plain text, such as x_i and 2^{b−1}, found for pages to set them."""

from __future__ import annotations

import re

# In braces, in brackets, or a run of letters of one case or of digits: of "x_ix_i" only "i" is low.
_SCRIPT = re.compile(r"([_^])(?:\{([^{}]*)\}|\(([^()]*)\)|([A-Z]+|[a-z]+(?!_)|[a-z]|\d+))")
_KINDS = {"_": "sub", "^": "sup"}


def split_scripts(text: str) -> list[tuple[str, str]]:
    """Split a text into what stands on the line, below it and above it.

    Parameters
    ----------
    text : str
        Plain text with formulas in Unicode, as the claims have them.

    Returns
    -------
    list of (str, str)
        Kind ("line", "sub" or "sup") and text, in order, none empty.

    Examples
    --------
    >>> split_scripts("C_sC_t·2^{b−1}")
    [('line', 'C'), ('sub', 's'), ('line', 'C'), ('sub', 't'), ('line', '·2'), ('sup', 'b−1')]
    """
    pieces, end = [], 0
    for match in _SCRIPT.finditer(text):
        pieces.append(("line", text[end : match.start()]))
        pieces.append((_KINDS[match[1]], match[2] or match[3] or match[4] or ""))
        end = match.end()
    pieces.append(("line", text[end:]))
    return [(kind, piece) for kind, piece in pieces if piece]
