"""Turns a smepilot database into one self-contained HTML page.

Layers, each knowing only those before it: text, stats, database, data (rows), analysis (what the rows say), plots (SVG),
page (HTML), main (command line). A new section is a function in analysis, one in plots if it draws, and one template.
"""
