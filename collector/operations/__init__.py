"""Operations: method and path template, one name for all calls of one kind, so that rollups stay small.

Three layers, the first that fits wins: rules of the settings (`rules.py`), what was learnt of a service (`learnt.py`,
`names.py`), and the fixed rule that needs no knowledge (`fixed.py`). docs/operations.md tells people.
"""

from collector.operations.fixed import MAX_SEGMENTS, operations, template_path, template_paths

__all__ = ["MAX_SEGMENTS", "operations", "template_path", "template_paths"]
