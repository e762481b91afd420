"""The law of FFA's error, its bounds and moments, and the theory of rounding."""
