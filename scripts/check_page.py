"""Goes through the page of `luperson serve` in a real browser, and keeps what it looks like.

    luperson serve --index people --workdir runs/bot --port 8765
    python scripts/check_page.py http://127.0.0.1:8765 --out shots

Needs `pip install -e '.[browser]'` and Chromium (`apt-get install chromium`, or `playwright install
chromium`). Looks at every page at the width of a desk and of a phone, light and dark: nothing may
be loaded from elsewhere, fail, be wider than the window, or be a violation that axe-core finds
(rules of WCAG 2.1 AA). Then searches, filters, sends pictures and what is none, and works by
keyboard and without scripts. The index needs pictures of two cameras.
"""

import argparse
import base64
import pathlib
import re
import shutil
import sys
from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, Request, expect, sync_playwright

from data_pipeline import terminal

PAGES = {
    "start": "/",
    "search": "/search?id=0",
    "identities": "/identities",
    "sheet": "/identities/0",
    "map": "/map",
    "labels": "/labels",
    "mistake": "/search?id=none",
}
DESK, PHONE = (1280, 900), (360, 740)
LOOKS = {
    "desk": (DESK, "light"),
    "dark": (DESK, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


DROP = """text => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""
"""Drops a file that is given as base64."""


def main() -> None:
    """Checks the page of an address; the status is 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="that the page has said, such as http://127.0.0.1:8765")
    parser.add_argument("--out", default="shots", help="folder of the pictures")
    options = parser.parse_args()
    found = check(options.address.rstrip("/"), pathlib.Path(options.out))
    terminal.say(*found, f"{len(found)} faults; pictures in {options.out}")
    sys.exit(1 if found else 0)


def check(address: str, out: pathlib.Path) -> list[str]:
    """Faults of the page, in words; its pictures go to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        own = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        faults = []
        for look in LOOKS:
            faults += look_at(browser, address, look, out)
        for what in (search, send, wrong_files, keyboard, identities, without_scripts):
            faults += tried(browser, address, what)
        browser.close()
    return faults


def look_at(browser: Browser, address: str, look: str, out: pathlib.Path) -> list[str]:
    """Every page as one reader sees it."""
    (width, height), scheme = LOOKS[look]
    faults: list[str] = []
    window = {"width": width, "height": height}
    context = browser.new_context(viewport=window, color_scheme=scheme, bypass_csp=False)
    page = context.new_page()

    def asked(request: Request) -> None:
        if not request.url.startswith(f"{address}/"):
            faults.append(f"{look}: {request.url} is asked for")

    page.on("request", asked)
    page.on("requestfailed", lambda one: faults.append(f"{look}: {one.url} fails"))
    page.on("pageerror", lambda one: faults.append(f"{look}: {one}"))
    for name, path in PAGES.items():
        ready(page, address + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            faults.append(f"{look}: {name} is {wide} pixels wide")
        page.screenshot(path=out / f"{name}-{look}.png", full_page=look.startswith("phone"))
    context.close()
    return faults + violations(browser, address, look)


def violations(browser: Browser, address: str, look: str) -> list[str]:
    """What axe-core finds; its script is let past the policy of the page."""
    (width, height), scheme = LOOKS[look]
    window = {"width": width, "height": height}
    context = browser.new_context(viewport=window, color_scheme=scheme, bypass_csp=True)
    page, faults = context.new_page(), []
    for name, path in PAGES.items():
        ready(page, address + path)
        for one in Axe().run(page, options=RULES).response["violations"]:
            where = one["nodes"][0]["html"][:120]
            faults.append(
                f"{look}: {name}: {one['id']} ({one['help']}) x{len(one['nodes'])}: {where}"
            )
    context.close()
    return faults


def tried(browser: Browser, address: str, what: Callable[[Browser, str], None]) -> list[str]:
    """Whether something works; the fault where it does not."""
    try:
        what(browser, address)
    except (AssertionError, Error) as error:
        return [f"{what.__name__}: {str(error).splitlines()[0]}"]
    return []


def ready(page: Page, address: str) -> None:
    """Opens a page that may have to be worked out first."""
    while page.request.get(address).status == 202:
        page.wait_for_timeout(300)
    page.goto(address, wait_until="networkidle")


def opened(browser: Browser, address: str, **more) -> Page:
    """A page of a window of its own."""
    page = browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}, **more).new_page()
    ready(page, address)
    return page


def search(browser: Browser, address: str) -> None:
    """A picture is picked, the threshold moved, and a camera chosen."""
    page = opened(browser, f"{address}/labels")
    ready(page, address)
    page.locator(".grid .shot").first.click()
    expect(page.locator("h1")).to_contain_text("nearest")
    distances = [float(one.split()[-1]) for one in page.locator(".distance").all_inner_texts()]
    assert distances == sorted(distances), "distances are not in order"
    page.get_by_label("Same person up to").fill("2")
    expect(page.locator(".verdict.same")).to_have_count(len(distances))
    page.get_by_label("Same person up to").fill("")
    expect(page.locator(".verdict.same")).to_have_count(0)
    camera = page.locator("input[name=camera]").last
    name = camera.locator("xpath=..").inner_text().strip()
    camera.check()
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".card").first).to_contain_text(f"camera {name}")
    said = page.locator(".card .soft").all_inner_texts()
    seen = {line.removeprefix("camera ").split(" ")[0] for line in said if "camera " in line}
    assert seen == {name.split(" ")[0]}, f"cameras {seen} where {name} was chosen"


def send(browser: Browser, address: str) -> None:
    """A picture is chosen, and one is dropped."""
    page = opened(browser, address)
    data = page.request.get(f"{address}/picture/0").body()
    for how in ("choose", "drop"):
        ready(page, address)
        if how == "choose":
            chosen = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data}
            page.get_by_label("Drop a picture").set_input_files(chosen)
            page.get_by_role("button", name="Search").click()
        else:
            page.evaluate(DROP, base64.b64encode(data).decode())
        expect(page.locator("h1")).to_contain_text("nearest", timeout=60_000)
        expect(page.get_by_alt_text("Query: the picture that was sent, a.jpg")).to_be_visible()


def wrong_files(browser: Browser, address: str) -> None:
    """What is no picture is told: before it is sent, or after."""
    page = opened(browser, address)
    field = page.get_by_label("Drop a picture")
    field.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"no"})
    expect(page.locator(".drop [role=alert]")).to_contain_text("a.txt is no picture")
    large = {"name": "a.png", "mimeType": "image/png", "buffer": bytes(17 << 20)}
    field.set_input_files(large)
    expect(page.locator(".drop [role=alert]")).to_contain_text("at most 16 are taken")
    field.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no"})
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_contain_text("annot read the picture a.png")


def keyboard(browser: Browser, address: str) -> None:
    """By keys alone: past the head of the page, to a search, and over the map."""
    page = opened(browser, f"{address}/labels")
    ready(page, address)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.grid .shot')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("nearest")
    ready(page, f"{address}/map")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "map":
            break
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator("circle.here")).to_have_count(1)
    expect(page.locator(".peek")).to_contain_text("Search with it")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("nearest")


def identities(browser: Browser, address: str) -> None:
    """An identity is split, named and merged again; and all of it is taken back."""
    page = opened(browser, f"{address}/identities/0")
    split = page.get_by_role("button", name="Split into a new identity")
    expect(split).to_be_disabled()
    page.locator("input[name=id]").first.check()
    expect(page.locator("[data-counted]")).to_have_text("1 chosen:")
    split.click()
    page.get_by_label("Name of this identity").fill("Ada <b>")
    page.get_by_role("button", name="Name it").click()
    expect(page.locator("h1")).to_have_text("Ada <b>")
    page.get_by_role("button", name=re.compile("^Merge ")).first.click()
    expect(page.locator("h1")).to_have_text("Ada <b>")
    page.get_by_role("link", name="Labels").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as CSV").click()
    assert "Ada <b>" in download.value.path().read_text()
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    expect(page.locator("main")).to_contain_text("Nothing was changed by hand")


def without_scripts(browser: Browser, address: str) -> None:
    """The same without JavaScript."""
    page = opened(browser, address, java_script_enabled=False)
    data = page.request.get(f"{address}/picture/0").body()
    chosen = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data}
    page.get_by_label("Drop a picture").set_input_files(chosen)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("h1")).to_contain_text("nearest")
    found = page.locator(".card").count()
    page.get_by_label("How many").select_option("12")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".card")).to_have_count(min(found, 12))


if __name__ == "__main__":
    main()
