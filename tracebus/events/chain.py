"""Blockchain transactions."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import DecimalText, Digest, FreeText
from tracebus.payload import EventPayload, FreeForm, Sensitive


class ChainTransaction(EventPayload, type="chain_transaction"):
    """A transaction on a blockchain reached a new state.

    Publish one before it is signed, and one at each later state. A settlement after the run's end
    goes into a maintenance run of the workflow.
    """

    chain: str
    """The chain, by CAIP-2 id (``eip155:1``) or by name."""
    status: Literal["proposed", "signed", "submitted", "confirmed", "failed", "replaced", "dropped"]
    """The state that it reached."""
    transaction_id: str | None = None
    """Id of the transaction on the chain, usually its hash."""
    from_address: str | None = None
    """Address that pays."""
    to_address: FreeText[str | None] = None
    """Address or contract that is paid or called."""
    asset: FreeText[str | None] = None
    """What is moved: a symbol, or the address of its contract."""
    amount: DecimalText | None = None
    """How much is moved, in whole units of the asset, as decimal text."""
    fee: DecimalText | None = None
    """Price of the transaction, in the chain's own currency, as decimal text."""
    method: FreeText[str | None] = None
    """Function of the contract that is called."""
    arguments: Sensitive[FreeForm] = None
    """What the contract is called with."""
    data_digest: Digest | None = None
    """Digest of the bytes that are signed."""
    nonce: DecimalText | None = None
    """The payer's transaction number, as decimal text."""
    block_number: DecimalText | None = None
    """Number of the block that holds it, as decimal text."""
    block_hash: str | None = None
    """Hash of the block that holds it, as the chain writes it."""
    confirmations: int | None = None
    """How many blocks followed so far."""
    call_id: FreeText[str | None] = None
    """The tool call that asked for it."""
    error: Sensitive[FreeText[str | None]] = None
    """What went wrong, in the chain's words."""
