"""The service dependency map: names, counting, rendering."""
