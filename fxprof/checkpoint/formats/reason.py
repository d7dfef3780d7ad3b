"""One line of somebody else's error, for the end of a sentence of ours."""

from __future__ import annotations

import re


def reason(err: BaseException) -> str:
    r"""What an error says, in one line and without torch's advice to load without restriction.

    >>> reason(ValueError("bad\nworse")), reason(EOFError())
    ('ValueError: bad', 'EOFError')
    >>> reason(RuntimeError("Weights only load failed. Re-run ...\nWeightsUnpickler error: \n\nUnsupported operand 3"))
    'RuntimeError: Unsupported operand 3'
    """
    text = str(err)
    inner = re.search(r"WeightsUnpickler error:\s*(\S.*)", text)
    lines = (inner[1] if inner else text).strip().splitlines()
    line = "".join(char if char.isprintable() else "?" for char in lines[0][:200]) if lines else ""
    return f"{type(err).__name__}: {line}" if line else type(err).__name__
