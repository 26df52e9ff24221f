"""The event that is measured: a tool call of about 450 bytes, the same for ours and for every peer."""

from __future__ import annotations

from typing import Any, Final

PAYLOAD: Final[dict[str, Any]] = {
    "tool": "wire_transfer",
    "callId": "call_oIHazX6yQrB8hUwl4cRilFKj",
    "status": "ok",
    "durationMs": 12.5,
    "arguments": {
        "amount": 5000,
        "currency": "EUR",
        "iban": "DE89370400440532013000",
        "reference": "invoice 4711",
        "urgent": False,
        "beneficiary": "Müller & Söhne GmbH",
    },
    "result": {"id": "tx-8812", "state": "accepted", "fees": [{"kind": "sepa", "amount": 1.25}]},
    "policy": {"id": "p-7", "version": "2026-11-01", "rule": "over-1000"},
    "_salt": "AAAAAAAAAAAAAAAAAAAAAA",
    "note": "checked",
}
"""What peers write, and what is canonicalised."""

PAYLOAD_WITHOUT_SALT: Final = {name: value for name, value in PAYLOAD.items() if name != "_salt"}
"""What ours publishes as a dict: the bus puts a fresh salt in, so that the stored payload is as long."""

WARM_UP: Final = 10
"""Events that are written before the clock starts, by ours and by every peer."""

WORKFLOW: Final = 1000
"""The most events in each workflow of a large log; one is bundled."""
