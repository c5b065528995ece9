"""A page in Chromium, steered line by line: each line of standard input is JSON, and so is each answer.

    playwright_page.py CHROMIUM URL

`{"wait": EXPRESSION}` until it is true, `{"value": EXPRESSION}`, `{"shot": FILE, "scheme": "dark", "width": 390}`,
`{"fill": SELECTOR, "text": TEXT}`. Answers hold `value`, and `errors`: all that the console and the page complained of.
"""

import json
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
HEIGHT, PATIENCE = 900, 60.0  # pixels, seconds


def wait(page: Page, expression: str) -> None:
    """Look until an expression is true; Playwright's own way of waiting is refused by a strict policy of content."""
    until = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        if time.monotonic() > until:
            raise SystemExit(f"not within {PATIENCE:g} s: {expression}; the page: {page.inner_text('body')}")
        page.wait_for_timeout(50)


def follow(page: Page, said: dict[str, Any]) -> Any:
    """Do what a line says."""
    if "wait" in said:
        wait(page, said["wait"])
    if "fill" in said:
        page.fill(said["fill"], said["text"])
        page.press(said["fill"], "Enter")
    if "shot" in said:
        page.emulate_media(color_scheme=said["scheme"])
        page.set_viewport_size({"width": said["width"], "height": HEIGHT})
        page.screenshot(path=said["shot"], type="png", full_page=True)
    return page.evaluate(said["value"]) if "value" in said else None


def main(chromium: str, url: str) -> None:
    """Open the page and follow what comes."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": HEIGHT})
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        for line in sys.stdin:
            value = follow(page, json.loads(line))
            print(json.dumps({"value": value, "errors": errors}), flush=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
