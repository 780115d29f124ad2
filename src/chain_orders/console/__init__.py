"""The operators' console: pages rendered here, complete without script, with nothing that is not ours.

Read `site` first (routes, headers, errors), then `visits` (who asks, and what they may), then the page of interest.
"""
