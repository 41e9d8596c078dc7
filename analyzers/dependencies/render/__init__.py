"""A service map as a table, JSON, Graphviz, Mermaid or SVG. Names in it are telemetry: never trusted."""
