"""Views: functions from a Report to text.

    rows.py     Report -> rows: depth, grouping, sorting, the top n
    table.py    rows -> a table with header, totals and notes
    notes.py    what the numbers mean, and how sure they are
    text.py     names made safe to print
    html/       a page that opens offline, also for other views

A view holds no state, never prints, imports no torch, and works the same on a Report read back
from JSON. It may hide rows, never their share of a total.
"""
