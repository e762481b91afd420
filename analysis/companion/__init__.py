"""The companion: a static site of the theory, its verdicts, the experiments and the figures."""
