"""A scripted night: one fault after another, each told from the metrics alone. ``make drill``."""
