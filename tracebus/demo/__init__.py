"""What ``tracebus demo`` does: payments on a real ledger, evidence of them, and attempts to cheat.

=============  =====================================================================================
`ledger`       accounts and transfers in a SQLite file; knows nothing of tracebus
`payments`     the workflow: how an agent's runtime uses the bus. Read this one first
`attempts`     what somebody might try with a log or a bundle, each really done, and what found it
`story`        all of it in order, in one folder
=============  =====================================================================================

What it prints is in `tracebus.cli.demo`.
"""
