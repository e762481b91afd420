"""All figures and tables by name, and the records that they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from analysis.products import claims
from analysis.products.accuracy import ACCURACY
from analysis.products.training_curves import CURVES
from analysis.records import store
from analysis.rendering.product import Product
from analysis.studies.registry import STUDIES

# What the result of each kind of record holds at least.
KINDS: Mapping[str, frozenset[str]] = {
    "run": frozenset({"config", "network", "method", "bits", "data", "epochs", "test_accuracy"}),
    "claims": frozenset({"claims", "false_alarm", "failing"}),
    **{study.name: study.keys for study in STUDIES.values()},
}
_OF_STUDIES = (
    replace(product, needs=f"studies/{study.name}")
    for study in STUDIES.values()
    for product in study.products
)
PRODUCTS: Mapping[str, Product] = {
    product.name: product for product in (*_OF_STUDIES, *CURVES, ACCURACY, *claims.PRODUCTS)
}


def load_records(folder: Path = store.FOLDER) -> dict[str, store.Record]:
    """Read all records by name, and refuse what does not fit its kind (ValueError)."""
    return store.load_all(folder, KINDS)
