"""A log with workflows in it, a key pair, and the command line to use them with."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from evidence import Ed25519Signer
from tracebus import (
    ApprovalResolved,
    PolicyDecision,
    SqliteEventLog,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
)
from tracebus.cli import main

Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `tracebus` with these arguments, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACEBUS_LOG", raising=False)

    def run(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]

    return run


async def _transfer(bus: TraceEventBus, tenant: str | None = None, user: str = "u-91") -> None:
    async with bus.run(workflow_id="transfer-42", tenant_id=tenant, user_id=user) as run, run.turn():
        proposed = await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": 5000}))
        await bus.publish(PolicyDecision(policy="limits", decision="require_approval"), causes=[proposed])
        await bus.publish(
            ApprovalResolved(request_id="a1", actor="kim", identity_source="idp", verdict="approved")
        )
        await bus.publish(ToolExecuted(tool="wire", call_id="c1", status="ok", result="sent"), risk="high")


async def _fill(log: SqliteEventLog) -> None:
    async with TraceEventBus(log) as bus:
        await _transfer(bus)
        async with bus.run(workflow_id="refund-7", run_id="refund-7/1", tenant_id="acme") as waiting:
            await waiting.suspend("an approval")
        await bus.start_run(workflow_id="refund-8", run_id="refund-8/1", tenant_id="acme")
        for number, tenant in enumerate(("acme", "böll"), 1):
            async with bus.run(workflow_id="shared-1", run_id=f"shared/{number}", tenant_id=tenant):
                pass


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of four workflow ids: one ended, one suspended, one open, one of two tenants."""
    path = tmp_path / "trace.db"
    store = SqliteEventLog(path, name="test")
    anyio.run(_fill, store)
    store.close()
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key's file; the public one lies beside it, as NAME.pub."""
    signer = Ed25519Signer.generate()
    path = tmp_path / "treasury.key"
    path.write_text(signer.to_pem())
    path.with_suffix(".pub").write_text(signer.verifying_key.to_pem())
    return path


@pytest.fixture
def bundle(cli: Cli, log: Path, key: Path, tmp_path: Path) -> Path:
    """A signed bundle of transfer-42."""
    path = tmp_path / "transfer-42.json"
    result = cli("export", "transfer-42", "-o", path, "--key", key, "--log", log)
    assert result.exit_code == 0, result.output
    return path
