"""Runs that never were, as their run.json would tell of them."""

from faqd_train import load_config

TEACHER = {"seed": 0, "weights_sha256": "ab" * 32, "validation_accuracy": 1, "test_accuracy": 1}
FLOAT = ("bits=float", "method=supervised")


def finished_run(*settings, name="digits", teacher=None, init=None, weights="12", test=0.25):
    """Make up what run.json holds."""
    config = load_config(name, settings).model_dump(mode="json")
    epoch = {"epoch": 1, "loss": 1.0, "terms": {"fa": 0.5}, "validation_accuracy": 0.5, "lr": 0.1}
    made_in = dict.fromkeys(("python", "faqd", "numpy", "torch"), "1")
    return {
        "schema": 1,
        "config": config,
        "teacher": teacher,
        "init": init,
        "data": {"train_sha256": "cd"},
        "environment": made_in | {"git_revision": "abc", "git_dirty": False},
        "epochs": [epoch | {"seconds": 1.0, "order_sha256": "ef"}] * config["optimizer"]["epochs"],
        "validation_accuracy": 0.5,
        "test_accuracy": test,
        "seconds": 1.0,
        "weights_sha256": weights,
    }
