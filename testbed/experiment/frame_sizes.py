"""Sizes of frames in other simulators: named sets, each figure beside its source, for the virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from testbed.lab.presets import Figure, Figures, PresetSet, known
from testbed.schema.fields import Size
from testbed.sizes import FCS_BYTES, LEAST_OWN_PAYLOAD_BYTES, LINE_OVERHEAD_BYTES, LONGEST_MTU_BYTES

_LEAST_BYTES = FCS_BYTES + LINE_OVERHEAD_BYTES
_MOST_BYTES = 1024
_MOST_PAYLOAD_BYTES = LONGEST_MTU_BYTES - _LEAST_BYTES

_UET = "uet-htsim, packets of 4150 bytes"
_CSG = "csg-htsim, rocepacket.h"

FRAME_SIZES: Mapping[str, Figures] = {
    "uet-htsim": {"payload": Figure(4086, _UET), "header": Figure(64, _UET), "ack": Figure(64, _UET)},
    "csg-htsim": {"payload": Figure(4096, _CSG), "header": Figure(64, _CSG), "ack": Figure(64, _CSG)},
}


class FrameSizes(PresetSet):
    """What packets take of the line, in place of what RoCEv2 takes; what is not given is that of the preset.

    Preamble and gap, 20 bytes, are part of these sizes, and stand in no buffer.
    """

    presets: ClassVar[Mapping[str, Figures]] = FRAME_SIZES
    what: ClassVar[str] = "set of frame sizes"

    preset: Annotated[str, *known(FRAME_SIZES, "set of frame sizes")] | None = None
    """Named set of sizes, of which every other key replaces one; left out, all three keys are given."""
    payload: Annotated[Size, Field(ge=LEAST_OWN_PAYLOAD_BYTES, le=_MOST_PAYLOAD_BYTES)] | None = None
    """Bytes of payload of a full packet, in place of `mtu`; left out, the preset's."""
    header: Annotated[Size, Field(ge=_LEAST_BYTES, le=_MOST_BYTES)] | None = None
    """Bytes that a packet of data takes beside its payload, which is not padded; left out, the preset's."""
    ack: Annotated[Size, Field(ge=_LEAST_BYTES, le=_MOST_BYTES)] | None = None
    """Bytes that an acknowledgement takes, a NAK or a notification of congestion; left out, the preset's."""

    @model_validator(mode="after")
    def _is_whole(self) -> FrameSizes:
        missing = [name for name in ("payload", "header", "ack") if getattr(self, name) is None]
        if self.preset is None and missing:
            raise ValueError(f"frames need {', '.join(missing)}, or a preset: {', '.join(FRAME_SIZES)}")
        packet_bytes = self.payload_bytes + self.header_bytes
        if packet_bytes > LONGEST_MTU_BYTES:
            raise ValueError(f"payload and header come to {packet_bytes} bytes, more than {LONGEST_MTU_BYTES}")
        return self

    @property
    def payload_bytes(self) -> int:
        """Bytes of payload of a full packet."""
        return self._bytes("payload")

    @property
    def header_bytes(self) -> int:
        """Bytes on the line beside the payload of data."""
        return self._bytes("header")

    @property
    def ack_bytes(self) -> int:
        """Bytes on the line of an acknowledgement."""
        return self._bytes("ack")

    def _bytes(self, name: str) -> int:
        return int(self.at(0)[name])
