"""Low-bit weights and activations."""
