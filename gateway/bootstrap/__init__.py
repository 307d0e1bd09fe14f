"""The composition root: the only place that knows which classes the product is built from. Product, commands and tests enter here."""

from adapters.files.spec import FeedOptions, OutletOptions
from gateway.bootstrap.checking import SPECS, Checked, check, goes_by, parse_xml, types
from gateway.bootstrap.desk import client_desk, open_webhook_desk
from gateway.bootstrap.foundation import open_books, pepper, store_options, trace_folder
from gateway.bootstrap.reviewing import open_review
from gateway.bootstrap.running import Product, product

__all__ = [
    "SPECS",
    "Checked",
    "FeedOptions",
    "OutletOptions",
    "Product",
    "check",
    "client_desk",
    "goes_by",
    "open_books",
    "open_review",
    "open_webhook_desk",
    "parse_xml",
    "pepper",
    "product",
    "store_options",
    "trace_folder",
    "types",
]
