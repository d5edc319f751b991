"""AEDAT, jAER's format for the events of a DVS128 sensor.

tonic, which comes with BrainCog, has a reader, but its ``read_dvs_128`` (1.7.0) always fails: it unpacks three
values of a header into two. It also takes seconds to import.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError, RepairedFileWarning
from scmrl_plugins.plugins.datasets.media.events import Events, refuse_disorder, refuse_many
from scmrl_plugins.plugins.datasets.media.read import read_bytes

SIDE = 128
"""Rows and columns of a DVS128."""
RECORDS = {
    b"1.0": np.dtype([("address", ">u2"), ("time", ">u4")]),
    b"2.0": np.dtype([("address", ">u4"), ("time", ">u4")]),
}
"""An event by the version of the format; times are in microseconds."""
# No event looks like a line of the header: a time of less than 4.6 hours has a zero byte.
_HEADER = re.compile(rb"(?:#[^\n\0]*\n)+")
_VERSION = re.compile(rb"#!AER-DAT([0-9.]+)")
_EXTERNAL = 1 << 15


def decode(source: bytes | Path, name: str | Path) -> Events:
    """The events of a DVS128: 128 x 128 points, upright; channel 1 where it got brighter, 0 darker.

    An address is ``polarity + 2 x + 256 y`` with x from the right, y from below and polarity 1 for darker, as
    jAER and the data set's own ``dat2mat.m`` take it. Signals of the external input (bit 15) belong to no
    pixel and are left out. Raises ``BadFileError``, naming ``name``, for a file that is not AEDAT 1.0 or 2.0, is
    cut off, has no events, or has events outside of the sensor or out of order.
    """
    data = read_bytes(source, name)
    header = _HEADER.match(data)
    if not header:
        raise BadFileError(name, "has no AEDAT header, lines with # at the start; copy it again or leave it out")
    version = _VERSION.search(header[0])
    if not version:
        raise BadFileError(name, "its header has no line #!AER-DAT2.0, which tells the format; copy it again")
    if version[1] not in RECORDS:
        raise BadFileError(
            name, f"is AEDAT {version[1].decode()}, and 1.0 or 2.0 is read; export it from jAER as AEDAT 2.0"
        )
    record = RECORDS[version[1]]
    rest = (len(data) - header.end()) % record.itemsize
    if rest:
        missing = record.itemsize - rest
        raise BadFileError(name, f"is cut off within an event, {missing} bytes are missing; copy it again")
    refuse_many((len(data) - header.end()) // record.itemsize, name)
    events = np.frombuffer(data, record, offset=header.end())
    address, time = events["address"].astype(np.int64), events["time"].astype(np.int64)
    strange = np.flatnonzero(address >= 2 * _EXTERNAL)
    if len(strange):
        raise BadFileError(
            name,
            f"{len(strange)} events are out of the {SIDE}x{SIDE} sensor, first event {strange[0]} of address "
            f"{address[strange[0]]:#x}; copy it again, or leave it out if it is no DVS128's",
        )
    if (time[1:] - time[:-1] < -(1 << 31)).any():
        raise BadFileError(name, "its clock of 32 bits starts anew in the middle; cut it there or leave it out")
    refuse_disorder(time, name)
    pixels = address < _EXTERNAL
    if not pixels.all():
        what = f"{np.count_nonzero(~pixels)} signals of the external input, left out"
        warnings.warn(RepairedFileWarning(name, what), stacklevel=2)
        address, time = address[pixels], time[pixels]
    if len(time) == 0:
        raise BadFileError(name, "holds no events; copy it again or leave it out")
    return Events(time, 1 - (address & 1), SIDE - 1 - (address >> 8), SIDE - 1 - (address >> 1 & SIDE - 1))


def encode(events: Events) -> bytes:
    """Events as the content of an AEDAT 2.0 file as jAER writes it; ``decode`` reads it back."""
    header = (
        b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
        b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
        b"# Timestamps tick is 1 us\r\n"
    )
    records = np.empty(len(events.time), RECORDS[b"2.0"])
    records["time"] = events.time
    records["address"] = (1 - events.channel) + 2 * (SIDE - 1 - events.column) + 256 * (SIDE - 1 - events.row)
    return header + records.tobytes()
