"""Corpora rebuilt on a calendar: config -> calendar (what is due) -> ledger (what has been done) -> scheduler (what is next).

Nothing here knows Ray: cluster/submission.py submits, jobs/schedule.py puts the two together.
"""
