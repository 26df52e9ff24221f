"""``python -m tracebus`` is the ``tracebus`` command."""

from tracebus.cli import main

if __name__ == "__main__":
    main(prog_name="tracebus")
