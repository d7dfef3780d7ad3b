"""The picture in the README: the top of ResNet-50's HTML report, as the system's Chromium shows it."""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path

import fxprof
from benchmarks.options import writable
from fxprof.errors import InputError

_README = Path(__file__).with_name("report.webp")
_SIZE = {"width": 1280, "height": 1000}


def picture(page: str, size: dict[str, int]) -> bytes:
    """Open the text of a page and take its top, at two dots per pixel, as a lossless WebP."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("the picture needs chromium on the PATH; on Debian: apt-get install chromium fonts-inter")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium)
        shown = browser.new_page(viewport=size, device_scale_factor=2)  # type: ignore[arg-type]
        shown.goto(path.as_uri())
        shown.wait_for_selector("html[data-ready]")
        taken = shown.screenshot()
        browser.close()
    found = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").save(found, "WEBP", lossless=True, quality=100, method=6)
    return found.getvalue()


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=writable, default=_README, metavar="FILE.webp", help="default: the README's")


def main(args: argparse.Namespace) -> bool:
    """Count, open, take the picture, write it."""
    import torch
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.resnet50().eval()
    taken = picture(fxprof.analyze(model, (1, 3, 224, 224), name="resnet50").to_html(), _SIZE)
    args.out.write_bytes(taken)
    print(f"{args.out}: {len(taken):,} bytes")
    return True
