"""Runs that never were, as their run.json would tell of them."""

TEACHER = {"seed": 0, "weights_sha256": "ab" * 32, "validation_accuracy": 1, "test_accuracy": 1}
FLOAT = ("bits=float", "method=supervised")
