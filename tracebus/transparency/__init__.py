"""The event log as a transparency log: tree, heads map, checkpoints, proofs (ADR 0011, schemas/log-v1.md)."""
