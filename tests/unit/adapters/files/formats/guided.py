"""Damage that follows what it reaches: `python -m tests.unit.adapters.files.formats.guided FORMAT [libFuzzer's options and folders]`.

atheris counts which branches of the readers an input takes, and libFuzzer goes on with those that reached something new. It ends with the
input and its trace when a reader breaks its promise (see test_fuzzing.outcome), takes too long or too much memory.
"""

import sys

import atheris

with atheris.instrument_imports(include=["adapters.files"]):
    from tests.unit.adapters.files.formats.test_fuzzing import outcome

if __name__ == "__main__":
    name = sys.argv[1]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: outcome(name, data))
    atheris.Fuzz()
