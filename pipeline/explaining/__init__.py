"""A look inside a model, and a model in a page.

    model + text -> hidden states, predictions -> the page of a text (page.py)
    model -> int8 weights, the engine's arithmetic in JavaScript -> a page that writes (play.py)

Pages are single HTML files: no network, no server. script/ holds what runs in them.
"""
