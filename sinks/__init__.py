"""Sinks: one file for each place that events may go to.

Nothing is imported here, so that a sink's own dependencies are loaded only where it is used:
``from sinks.jsonl import JsonlSink``.
"""
