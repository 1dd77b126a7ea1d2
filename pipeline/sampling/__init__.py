"""Models into text. engine (step lanes of characters together, pure torch) -> batch (an actor pool on Ray Data)."""
