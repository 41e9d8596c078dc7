"""OTLP (traces, metrics, logs) to columns.

    bytes ─ wire.signal_of ─► which signal ─ schema.read ─► nested Arrow ─ traces|metrics|logs ─► table columns
                                                └─ what fails: isolated message by message ─► dead letters

Everything works on whole columns; per-record Python runs only for records that are wrong or use nested values.
"""
