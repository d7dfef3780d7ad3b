"""``python -m fxprof``, and what the command ``fxprof`` runs."""

import sys

from fxprof.interrupts import end_the_process, ending_the_process

with ending_the_process():
    from fxprof.cli import main


def run() -> int:
    """Run one command; return the exit status."""
    status = main()
    end_the_process()  # Python still has to take torch down, which takes a moment
    return status


if __name__ == "__main__":
    sys.exit(run())
