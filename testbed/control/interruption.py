"""What becomes of a lab when the command that builds it is interrupted: it is taken down again, or what stands is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from testbed.system.output import ReaderGone

T = TypeVar("T")
Write = Callable[[str], None]


class Fate:
    """How far a verb on a lab has come; `stands` says, in words for the user, what there is of the lab now."""

    def __init__(self, write: Write = lambda _: None) -> None:
        self._write = write
        self.stands = "nothing was begun"

    async def build(self, lab: str, work: Awaitable[T], stood: bool, destroy: Callable[[], Awaitable[Any]]) -> T:
        """Wait for the building of a lab, or for its change if it `stood` before, and return what that does.

        Cancelled, it waits on for the end, since the agent does, and takes down what did not stand before.
        """
        self.stands = f"lab {lab} may stand; `testbed destroy --name {lab}` takes it down"
        building = asyncio.ensure_future(work)
        try:
            built = await asyncio.shield(building)
        except asyncio.CancelledError:
            self._print(
                f"interrupted; waiting until lab {lab} " + ("is changed" if stood else "can be taken down again")
            )
            await asyncio.wait({building})
            failed = building.exception()
            if not stood:
                await destroy()
                self.stands = f"lab {lab} was taken down again"
            else:
                self.stands = f"lab {lab} stood before and " + (
                    f"is not changed: {failed}" if failed else "is as asked now"
                )
            raise
        self.stands = f"lab {lab} is up"
        return built

    @asynccontextmanager
    async def destroying(self, lab: str) -> AsyncIterator[None]:
        """Note that the lab may be gone already while it is taken down: that is not undone."""
        self.stands = f"lab {lab} is being taken down; `testbed inspect` shows whether it is gone"
        yield
        self.stands = f"lab {lab} is gone"

    def _print(self, text: str) -> None:
        # The terminal may be gone too, and the lab is to go all the same.
        with suppress(OSError, ReaderGone):
            self._write(text)
