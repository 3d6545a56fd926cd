"""Networks side by side: what they cost on this machine, what they score, and what papers print.

Nothing is imported here, so that a process that measures a network loads no more than it needs.
"""
