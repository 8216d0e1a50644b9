#!/usr/bin/env python3
"""A picture of a report for the README, docs/report.png: its summary and rooflines, from a page of `smetune report`.

usage: report_picture.py REPORT.html [OUT.png]

Needs Chromium and python3-pil. Small enough for a README: 64 colours, at most 150 KB."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1000, 1430  # of the window, in CSS pixels
LEFT_OUT = "nav, #actions, #platform"  # what lies between the two, by CSS selectors
MOST_BYTES = 150_000


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        from PIL import Image
    except ImportError as error:
        sys.exit(f"report_picture.py: {error}; on Debian: apt-get install python3-pil, and run it with /usr/bin/python3")

    page = Path(sys.argv[1]).resolve()
    out = Path(sys.argv[2] if len(sys.argv) == 3 else Path(__file__).parents[1] / "docs" / "report.png")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("report_picture.py: no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder:
        shot = os.path.join(folder, "shot.png")
        shown = Path(folder, "page.html")
        shown.write_text(page.read_text(encoding="utf-8").replace(
            "</head>", f"<style>{LEFT_OUT} {{ display: none }}</style></head>"), encoding="utf-8")
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}",
                        shown.as_uri()], check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)
    size = out.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{out}: {size} bytes, more than {MOST_BYTES}")
    print(f"{out}: {size} bytes")


if __name__ == "__main__":
    main()
