"""`python -m sandbox`: see `--help`."""

import sys

from sandbox.server import main

if __name__ == "__main__":
    sys.exit(main())
