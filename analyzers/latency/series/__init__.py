"""Plain series of numbers (a CSV of anybody's): change points and anomalies, with no store behind them."""
