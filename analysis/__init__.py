"""Experiments that join the theory and the training: the demo, its figures and tables."""
