"""How well samples are made: whether closers close what is open, functions parse, words exist.

samples, control -> compare -> check, a text at a time -> one file a kind, loops for any -> findings

A figure means little by itself: real kernel functions fail most checks out of context. So compare
puts the same figure of held-out text of the same size beside each.
"""
