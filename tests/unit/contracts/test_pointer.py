from hypothesis import given
from hypothesis import strategies as st

from contracts.pointer import path_of, pointer_of


def test_pointer_escapes_what_parts_steps() -> None:
    assert pointer_of(["a/b", "m~n", 0, "~1"]) == "/a~1b/m~0n/0/~01"  # RFC 6901 §3, §5
    assert pointer_of([]) == ""
    assert path_of("") == []
    assert path_of("/") == [""]


@given(st.lists(st.text()))
def test_path_comes_back_from_its_pointer(path: list[str]) -> None:
    assert path_of(pointer_of(path)) == path
