"""How results are laid out: the look of the figures, the forms of the tables."""
