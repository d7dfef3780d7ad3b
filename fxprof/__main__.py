"""``python -m fxprof``."""

import sys

from fxprof.cli import main

if __name__ == "__main__":
    sys.exit(main())
