from __future__ import annotations

import contracts.errors as tree
from observability.vocabulary import CLASS_OF, NAMES, failure_class


def all_errors(of: type[tree.TillgateError]) -> set[type[tree.TillgateError]]:
    return {of} | {e for sub in of.__subclasses__() for e in all_errors(sub)}


def test_every_error_of_the_tree_has_a_type_from_the_closed_list() -> None:
    unknown = {e.__name__: e.error_type for e in all_errors(tree.TillgateError) if e.error_type not in CLASS_OF}
    assert unknown == {}


def test_names_in_telemetry_are_unique_and_ours_carry_our_prefix() -> None:
    assert len(set(NAMES.values())) == len(NAMES)
    foreign = {n.partition(".")[0] for n in NAMES.values()} - {"tillgate"}
    assert foreign <= {"http", "url", "server", "service", "rpc", "messaging", "file", "cloudevents"}


def test_an_unknown_word_is_our_own_fault_and_a_status_code_the_peers() -> None:
    assert (failure_class("never heard"), failure_class("503")) == ("gateway", "upstream_error")
