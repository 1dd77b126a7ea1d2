"""What there is to track in a text of a kind, symbol by symbol.

label (what a label is) → common (any text), c, python, wiki, latex, prose → by_kind

A label's value at a symbol is what is known once the symbol was read: an opening quote is inside
quotes, a closing one no more. Scanners read hostile and unbalanced text in one pass.
"""
