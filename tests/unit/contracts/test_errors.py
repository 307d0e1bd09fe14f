"""The error tree: every class says what it is, and channels never read what a legacy system said."""

from dataclasses import fields

import pytest

from contracts import errors
from contracts.errors import TillgateError, UpstreamError
from observability import vocabulary

KINDS = sorted({e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, TillgateError)}, key=lambda e: e.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_error_has_a_code_a_status_and_advice_in_whole_sentences(kind):
    assert kind.code.replace("_", "").isalnum()
    assert 200 <= kind.status < 600
    assert kind.title[0].isupper()
    assert kind.advice.endswith(".")


@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(k, UpstreamError)], ids=lambda k: k.__name__)
def test_what_a_channel_reads_of_a_system_failure_holds_nothing_of_the_system(kind):
    secret = "MATNR-4711 at sap01.corp"
    values = {f.name: secret for f in fields(kind) if f.type == "str"}
    error = kind(**{**values, "system": "erp", "operation": secret})
    assert secret in str(error)
    assert secret not in error.public
    assert secret not in str(error.extensions)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_error_type_is_a_word_of_the_vocabulary(kind):
    assert vocabulary.failure_class(kind.error_type) is not None
