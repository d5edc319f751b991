"""The server on a socket: many clients, slow clients, and a browser."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cli_runs import assert_refused, invoke
from served import WAITING
from websockets.sync.client import connect

from scmrl_plugins.cli import serve as command
from scmrl_plugins.serve.answer import Answers

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
def test_many_at_once_are_answered_or_asked_to_wait(
    address: str, files: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is computed and four wait, all others get 429; memory grows by a bounded amount."""
    going = threading.Event()
    computed = answers.answer

    def waits(*args: Any, **options: Any) -> dict[str, Any]:
        going.wait(20)
        return computed(*args, **options)

    monkeypatch.setattr(answers, "answer", waits)
    before = psutil.Process().memory_info().rss

    async def post(client: httpx.AsyncClient) -> int:
        sent = {"audio": (files / "a.wav").read_bytes(), "visual": (files / "a.png").read_bytes()}
        sent = {name: (name, data, "application/octet-stream") for name, data in sent.items()}  # type: ignore[misc]
        done = await client.post(f"http://{address}/predict?explain=false", files=sent)
        if done.status_code == 429:
            assert done.headers["retry-after"] == "1"
        return done.status_code

    async def all_of_them() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            tasks = [asyncio.create_task(post(client)) for _ in range(200)]
            while sum(task.done() for task in tasks) < 200 - WAITING - 1:
                await asyncio.sleep(0.05)
            going.set()
            return list(await asyncio.gather(*tasks))

    codes = Counter(asyncio.run(all_of_them()))
    assert codes == {200: WAITING + 1, 429: 200 - WAITING - 1}
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert httpx.get(f"http://{address}/health").json()["requests"] == 0


@pytest.mark.slow
def test_slow_and_large_clients(address: str) -> None:
    host, port = address.split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    part = f"{head}Content-Length: 999\r\n\r\n--x\r\n".encode()
    clients = []
    for sent in (b"", b"POST /pre", part):
        clients.append(socket.create_connection((host, int(port)), timeout=30))
        clients[-1].sendall(sent)
    assert [client.recv(1000)[:12] for client in clients] == [b"", b"", b"HTTP/1.1 408"]
    for client in clients:
        client.close()

    def large() -> Any:
        for _ in range(40):
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    done = httpx.post(f"http://{address}/predict", content=large(), headers=headers, timeout=60)
    assert done.status_code in (413, 422)
    with socket.create_connection((host, int(port))) as client:  # which goes away
        client.sendall(part)
    assert httpx.get(f"http://{address}/health").json()["status"] == "ok"


class Browser:
    """A page in a headless browser, driven by the DevTools protocol."""

    def __init__(self, folder: Path) -> None:
        assert BROWSER
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            "--window-size=400,900",
        ]
        self.process = subprocess.Popen(
            [BROWSER, *options, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr
        line = next(line for line in self.process.stderr if "DevTools listening" in line)
        port = re.search(r":(\d+)/", line)
        assert port
        [page] = [x for x in httpx.get(f"http://127.0.0.1:{port[1]}/json").json() if x["type"] == "page"]
        self.connection = connect(page["webSocketDebuggerUrl"], max_size=None)
        self.socket = self.connection.__enter__()
        self.number = 0

    def call(self, method: str, **params: Any) -> Any:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(60))
            if message.get("id") == self.number:
                return message["result"]

    def value(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)[
            "result"
        ].get("value")

    def until(self, script: str) -> Any:
        for _ in range(600):
            if found := self.value(script):
                return found
            time.sleep(0.1)
        raise AssertionError(f"never: {script}")

    def close(self) -> None:
        self.connection.__exit__(None, None, None)
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser here")
def test_the_page_in_a_browser(address: str, files: Path, tmp_path: Path) -> None:
    """Files are chosen, sent and answered; a file that is none is a line; nothing sticks out of a small screen."""
    expected = httpx.post(
        f"http://{address}/predict",
        files={name: (files / f"a.{end}").open("rb") for name, end in (("audio", "wav"), ("visual", "png"))},
        timeout=60,
    ).json()
    browser = Browser(tmp_path / "profile")
    try:
        browser.call("Page.enable")
        browser.call("Page.navigate", url=f"http://{address}/")
        browser.until("document.readyState == 'complete' && !!document.getElementById('files')")

        def choose(*paths: Path) -> None:
            root = browser.call("DOM.getDocument")["root"]["nodeId"]
            node = browser.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
            browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

        assert browser.value("document.getElementById('send').disabled")
        choose(files / "a.wav", files / "a.png")
        browser.until("document.querySelectorAll('#chosen li').length == 2")
        browser.value("document.getElementById('send').click()")
        best = browser.until("document.getElementById('best').textContent")
        assert best.split(",")[0] == expected["predictions"][0]["label"]
        browser.until("document.querySelectorAll('#firing .track').length")
        assert browser.value("document.querySelectorAll('#firing .track').length") == len(expected["firing_rates"])
        assert browser.value("document.querySelectorAll('#maps canvas').length") >= 4
        assert browser.value("document.querySelectorAll('#alone .bars').length") == 2
        assert browser.value("document.documentElement.scrollWidth - innerWidth") <= 0

        (tmp_path / "b.wav").write_bytes(b"no sound")
        choose(tmp_path / "b.wav")
        browser.until("document.querySelector('#chosen').textContent.includes('b.wav')")
        browser.value("document.getElementById('send').click()")
        line = browser.until(
            "!document.getElementById('problem').hidden && document.getElementById('problem').textContent"
        )
        assert line.startswith("audio: not a sound file")
    finally:
        browser.close()


def test_what_cannot_be_served_is_one_line(run: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = address.split(":")[1]
    assert_refused(invoke("serve", run, "--port", port, "--device", "cpu"), f"127.0.0.1:{port}", "--port")
    assert_refused(invoke("serve", run, "--host", "256.1.1.1", "--device", "cpu"), "--host 256.1.1.1")
    assert_refused(invoke("serve", run.parent), "no run there")
    monkeypatch.setattr(command, "_NEEDED", ("no_such_module",))
    assert_refused(invoke("serve", run), "pip install 'scmrl-plugins[serve]'")
