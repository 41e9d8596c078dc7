"""A service map as a table, JSON document, Graphviz, Mermaid or SVG drawing. Names in it are telemetry: never trusted."""
