"""Turns a smepilot database into one self-contained HTML page, Markdown or JSON, and compares two.

Layers, each knowing only those before it: text, stats, database, data (rows), operators, end_to_end, analysis and
modes (what the rows say), runs (files of smepilot-run), svg, plots and curves (drawings), summary, document (the report
as data), compare, markdown, page (HTML), main (command line). A new section is a function in analysis, one in plots if
it draws, and one template.
"""
