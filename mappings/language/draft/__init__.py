"""Drafts of mappings: which operations fit a capability, which fields mean the same, and how one becomes the other.

A proposed line is proven by the check before it is written. What is certain is a line; what is likely is a line with a remark; the
rest is left to a person as a decision. Nothing here is believed later: a draft is checked like every other mapping.
"""
