"""Lets `python3 -m smepilot_report` run the command line."""

import sys

from smepilot_report.main import main

sys.exit(main())
