"""The latency of ``scmrl serve``: a server in a process of its own, and clients that ask one request after the
other.

    python benchmarks/serve.py RUN [--clients 1 8 32] [--requests 100] [--explain] [-o benchmarks/results/serve]

Each client is a thread with one connection and sends a sound of half a second with a picture of 28 x 28 pixels.
Latency is from the first byte that is sent to the last one of the answer. One thread of the server computes, so
that with n clients at once each waits for the n - 1 others. Writes ``results.json`` and ``results.md``.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import psutil


def form() -> bytes:
    """A request with a sound and a picture of noise."""
    from PIL import Image

    rng = np.random.default_rng(0)
    sound, picture = io.BytesIO(), io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(rng.integers(-9000, 9000, 4000, dtype=np.int16).tobytes())
    Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(picture, format="PNG")
    body = b""
    for name, kind, data in (("audio", "audio/wav", sound), ("visual", "image/png", picture)):
        head = (
            f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\nContent-Type: {kind}\r\n\r\n'
        )
        body += head.encode() + data.getvalue() + b"\r\n"
    return body + b"--x--\r\n"


def measured(port: int, path: str, clients: int, requests: int) -> dict[str, Any]:
    """Percentiles of the latency in ms, and requests a second, of some clients with some requests in all."""
    body, each, seconds = form(), max(1, requests // clients), list[float]()
    begin = threading.Barrier(clients + 1)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        begin.wait()
        for _ in range(each):
            started = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=x"})
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {text[:200]!r}")
            seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - started
    if len(seconds) < clients * each:
        raise SystemExit("some requests failed")
    p50, p99 = np.percentile(1000 * np.array(seconds), [50, 99])
    return {
        "clients": clients,
        "requests": len(seconds),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "per_second": round(len(seconds) / lasted, 1),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=100, help="of all clients together")
    parser.add_argument("--explain", action="store_true", help="also measure complete answers")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/serve"))
    options = parser.parse_args()
    command = [sys.executable, "-m", "scmrl_plugins", "serve", str(options.run), "--port", "0", "--device", "cpu"]
    server = subprocess.Popen(
        [*command, "--queue", str(max(options.clients))], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert server.stdout
        address = re.search(r":(\d+) ", server.stdout.readline())
        if not address:
            raise SystemExit("the server does not start")
        rows = [
            {"answer": answer, **measured(int(address[1]), path, clients, options.requests)}
            for answer, path in (("prediction", "/predict?explain=false"), ("complete", "/predict"))
            for clients in (options.clients if options.explain or answer == "prediction" else ())
        ]
        memory = round(psutil.Process(server.pid).memory_info().rss / 2**20)
    finally:
        server.terminate()
        server.wait()
    result = {
        "command": " ".join(["python benchmarks/serve.py RUN", *sys.argv[2:]]),
        "run": options.run.name,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "memory_mb": memory,
        "rows": rows,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    lines = [
        "# Latency of scmrl serve\n",
        f"`{result['command']}`, on {result['cpus']} {result['machine']} cores.\n",
    ]
    lines.append(f"Load average at the end: {result['load']}. Memory of the server at the end: {memory} MB.\n")
    lines += ["| answer | clients | requests | p50, ms | p99, ms | requests/s |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    (options.output / "results.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
