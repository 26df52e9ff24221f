"""Anchors: places outside where a log's checkpoints are kept, cosigned or timestamped (ADR 0012).

anchors = [DirectoryAnchor("/mnt/archive"), WitnessAnchor("https://witness.example/north", VKEY)]
for status in anchor_all(log, signer, anchors):
    print(status.anchor, status.size, status.error)
"""

from tracebus.anchor.base import Anchor, CheckableAnchor, PublishedLog
from tracebus.anchor.config import load_anchors
from tracebus.anchor.directory import DirectoryAnchor
from tracebus.anchor.runner import anchor_all, anchor_status
from tracebus.anchor.s3 import S3Anchor
from tracebus.anchor.schedule import Anchoring
from tracebus.anchor.timestamp import TimestampAnchor
from tracebus.anchor.witness import WitnessAnchor
from tracebus.transparency.anchorings import AnchorStatus, Receipt

__all__ = [
    "Anchor",
    "AnchorStatus",
    "Anchoring",
    "CheckableAnchor",
    "DirectoryAnchor",
    "PublishedLog",
    "Receipt",
    "S3Anchor",
    "TimestampAnchor",
    "WitnessAnchor",
    "anchor_all",
    "anchor_status",
    "load_anchors",
]
