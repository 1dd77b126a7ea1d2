"""Corpora rebuilt on a calendar.

    schedule file -> load -> config (a schedule) -> calendar (when it fires)
                                                        |
    watch (look, wait, again)  ->  scheduler (what is next)  <->  ledger (what has been done:
                                    |           |                  records, history, files)
                                    |           |                             |
              telling (who hears of failures)   |              overview (how each came out)
                                       perform (an attempt as a job)

Nothing here knows Ray or MLflow. jobs/schedule.py hands in the cluster's jobs, and the function
that records an attempt in MLflow.
"""
