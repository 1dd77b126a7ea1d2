"""Wrong input at every door: one line that says what to change, exit status 2, nothing left behind.

The cases are data (values.py, tables in the tests); house.py knows how a door is tried.
"""
