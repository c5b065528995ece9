"""The live page, in a real browser, of a real fleet; and what a server says of its files."""

import asyncio
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access import Guard
from serving.fleet.page import BELOW
from serving.fleet.page.routes import HEADERS
from serving.fleet.supervisor.service import Service, build_service, right
from serving.listener import address, listen
from serving.tokens import add_token
from tests.serving.fleet.browser import opened
from tests.serving.fleet.conftest import Begin, load

ROWS = "[...document.querySelectorAll('tr[data-replica]')]"
STATES = f"Object.fromEntries({ROWS}.map(row => [row.dataset.replica, row.dataset.state]))"
TILE = "document.querySelectorAll('.tile .value')"


def test_files_need_no_token_and_figures_do() -> None:
    assert right("GET", "/monitoring") is None
    assert right("GET", f"{BELOW}script.js") is None
    assert right("GET", "/monitoring/fleet") == "read"
    assert right("POST", "/admin/scale") == "manage"


@pytest.mark.slow
def test_the_page_shows_a_replica_leave_and_another_come(begin: Begin) -> None:
    fleet = begin(minimum=2)
    fleet.settled(2)
    with load(fleet.url), opened(f"{fleet.url}/monitoring") as page:
        page.wait(f"Object.values({STATES}).filter(s => s === 'ready').length === 2")
        page.wait(f"{TILE}[0].textContent === '2' && parseFloat({TILE}[1].textContent) > 0")
        page.wait("document.querySelectorAll('.tile path').length > 8 && /ms|s/.test(document.body.textContent)")
        victim = fleet.replicas()[0]
        os.kill(victim["pid"], signal.SIGKILL)
        page.wait(f"{STATES}['{victim['name']}'] === 'gone'")
        for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390), ("light", 768)):
            assert page.overflow("killed", scheme, width) <= 0
        page.wait(f"Object.values({STATES}).filter(s => s === 'ready').length === 2")
        page.wait(f"{TILE}[0].textContent === '2'")
        decisions = page.value("document.querySelector('.decisions').textContent")
        assert f"{victim['name']} ended" in decisions
        page.wait(f"!({STATES})['{victim['name']}']")  # nobody needs to know for ever
        page.overflow("whole", "light", 1200)
        page.overflow("whole", "light", 390)
        assert not page.errors()
        fleet.process.send_signal(signal.SIGSTOP)
        page.wait("/does not answer/.test(document.querySelector('#silent').textContent)")
        assert page.overflow("silent", "light", 390) <= 0
        assert page.value("document.querySelector('#fleet').classList.contains('stale')")
        fleet.process.send_signal(signal.SIGCONT)
        page.wait("document.querySelector('#silent').hidden && !document.querySelector('.stale')")


@pytest.mark.slow
def test_a_token_that_does_not_help_is_said_to(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    narrow = add_token(tokens, "caller", ("predict",))
    nothing: Any = None  # no token gets as far as the fleet
    listener = listen("127.0.0.1", 0)
    service = Service(build_service(nothing, nothing, Guard(tokens)))
    thread = threading.Thread(target=lambda: asyncio.run(service.serve(sockets=[listener])))
    thread.start()
    try:
        with opened(f"{address(listener)}/monitoring") as page:
            page.wait("!document.querySelector('#access').hidden")
            assert page.value("document.querySelector('#refused').hidden")  # none was given yet
            for token, said in (("wrong", "not known"), (narrow, "no scope read"), ("wrong", "not known")):
                page.do(fill="#token", text=token)
                page.wait(f"document.querySelector('#refused').innerText.includes('{said}')")
            assert page.overflow("refused", "light", 390) <= 0
    finally:
        service.should_exit = True
        thread.join()


@pytest.mark.slow
def test_files_come_through_the_balancer_with_a_policy_and_name_nothing_outside(begin: Begin) -> None:
    fleet = begin(minimum=1)
    paths = ["/monitoring", f"{BELOW}style.css", f"{BELOW}script.js"]
    replies = {path: httpx.get(f"{fleet.url}{path}") for path in paths}
    for path, reply in replies.items():
        assert reply.status_code == 200, path
        assert reply.headers.items() >= HEADERS.items()
        outside = set(re.findall(r"https?://[^\s\"']+", reply.text)) - {"http://www.w3.org/2000/svg"}
        assert not outside
    assert "'unsafe" not in HEADERS["content-security-policy"]
    assert not re.search(r"style=|onclick=|<script>", replies["/monitoring"].text)
    assert httpx.get(f"{fleet.url}{BELOW}routes.py").status_code == 404
    assert httpx.get(f"{fleet.own}{BELOW}..%2froutes.py").status_code == 404
