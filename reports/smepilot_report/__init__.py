"""Turns a smepilot database into one self-contained HTML page.

Layers, each knowing only those before it: text, stats, database, data (rows), operators, end_to_end and analysis (what
the rows say), svg and plots (drawings), summary, page (HTML), main (command line). A new section is a function in
analysis, one in plots if it draws, and one template.
"""
