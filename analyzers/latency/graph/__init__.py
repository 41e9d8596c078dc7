"""Blame from aggregated numbers: which node or link of the map explains a slow-down or a rise of errors."""
