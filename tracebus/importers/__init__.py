"""Importers: records that others made, taken over as workflows.

An imported event says what the source says and no more: no time, approval, model or outcome is made
up for it. The run that holds it is of the kind ``import`` and names the source by its digest.
"""

from tracebus.importers.chat import ImportSummary, import_chat

__all__ = ["ImportSummary", "import_chat"]
