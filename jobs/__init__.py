"""How a person starts things: each file parses, calls one pipeline function, and says where the result is."""
