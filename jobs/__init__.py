"""How a person starts things.

Each file parses a command line, calls one function of the pipeline, and says where the result is.
"""
