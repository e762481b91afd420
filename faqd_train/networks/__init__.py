"""Networks and what is put around them: taps, adapters, folded norms, precision."""
