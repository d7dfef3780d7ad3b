"""Elements that are shared out: the masks ``x == 0``, ``x == 1``, ... select every element of x once in all.

A loop over classes or experts selects by one such mask in each turn. Any one of them may hold all
elements, but together they hold each element once. Where one attempt at a trace has seen a loop go
through every value, the next attempt gives each mask an even share, so that the sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Share:
    """One of ``parts`` masks over ``total`` elements; ``key`` names the loop it was made in."""

    key: Key
    position: int
    parts: int
    total: int


class Shares:
    """The masks of one trace, and what earlier attempts have found out about the loops they come from."""

    def __init__(self) -> None:
        self._complete: set[Key] = set()
        self.reset()

    def reset(self) -> None:
        """Forget the masks of the last attempt, but not which loops were complete."""
        self._owners: dict[str, dict[tuple[int, ...], int]] = {}
        self._last: dict[Key, Share] = {}
        self._counted: set[Key] = set()

    def made(self, source: str, owner: tuple[int, ...], parts: int, total: int) -> Share:
        """Register a mask, made at ``source``, on the elements that ``owner`` identifies."""
        owners = self._owners.setdefault(source, {})
        key = (source, owners.setdefault(owner, len(owners)))
        before = self._last.get(key)
        share = self._last[key] = Share(key, before.position + 1 if before else 0, parts, total)
        return share

    def rows(self, share: Share, most: int) -> tuple[int, str]:
        """How many elements the mask selects, and how to say it; ``most`` is its size."""
        self._counted.add(share.key)
        if share.key not in self._complete:
            return most, f"at most {most}"
        even, rest = divmod(share.total, share.parts)
        rows = min(most, even + (share.position % share.parts < rest))
        return rows, f"{even} each, {share.total} in {share.parts} parts"

    def found_complete_loops(self) -> bool:
        """Whether this attempt shows loops over all parts that the next one can count exactly."""
        found = {key for key in self._counted if self._last[key].position + 1 >= self._last[key].parts}
        new = found - self._complete
        self._complete |= new
        return bool(new)
