"""A hub on this machine: what datasets asks of huggingface.co, answered for data sets of folders' files."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from local_server import LocalServer, running

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(LocalServer):
    """Serves folders by the ids of data sets; a data set with a token is gated."""

    def __init__(self, folders: Mapping[str, Path], tokens: Mapping[str, str]) -> None:
        super().__init__(Handler)
        self.folders, self.tokens = folders, tokens


def serve(folders: Mapping[str, Path], tokens: Mapping[str, str]) -> contextlib.AbstractContextManager[Hub]:
    """The hub, up as long as the block runs."""
    return running(Hub(folders, tokens))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: a second one waits for the first to be acknowledged
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        path = unquote(urlsplit(self.path).path)
        posted = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {path}")
        name = "/".join(path.removeprefix("/api").split("/")[2:4])
        token = self.server.tokens.get(name)
        if path == "/":
            self.answer(200)
        elif name not in self.server.folders:
            self.refuse(401, "RepoNotFound")
        elif token and self.headers.get("Authorization") != f"Bearer {token}":
            self.refuse(401, "GatedRepo")
        else:
            folder = self.server.folders[name]
            self.files = {
                file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()
            }
            if path.startswith("/api"):
                self.tell(name, path.removeprefix(f"/api/datasets/{name}").strip("/"), posted)
            else:
                self.send(*path.removeprefix(f"/datasets/{name}/resolve/").split("/", 1))

    do_GET = do_POST = do_HEAD  # noqa: N815

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code: int, why: str) -> None:
        self.answer(code, b"{}", X_Error_Code=why, X_Error_Message=why)

    def tell(self, name: str, path: str, posted: bytes) -> None:
        """About the data set, a folder of it, or files of it."""
        what, _, rest = path.partition("/")
        revision, _, under = rest.partition("/")
        here = f"{under}/" if under else ""
        inside = [file for file in self.files if file.startswith(here)]
        told: Any = [self.entry(file) for file in inside if "/" not in file.removeprefix(here)]
        folders = {here + file.removeprefix(here).split("/")[0] for file in inside} - {*self.files}
        told += [{"type": "directory", "path": folder, "oid": "", "size": 0} for folder in sorted(folders)]
        if revision not in ("", "main", COMMIT):
            self.refuse(404, "RevisionNotFound")
            return
        if what in ("", "revision"):
            told = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in self.files]}
        elif what == "paths-info":
            asked = parse_qs(posted.decode()).get("paths", [])
            told = [self.entry(file) for file in asked if file in self.files]
        elif not told:
            self.refuse(404, "EntryNotFound")
            return
        self.answer(200, json.dumps(told).encode(), Content_Type="application/json")

    def entry(self, name: str) -> dict[str, Any]:
        size = self.files[name].stat().st_size
        return {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}

    def send(self, revision: str, name: str) -> None:
        """A file, or a range of it."""
        if revision not in ("main", COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif name not in self.files:
            self.refuse(404, "EntryNotFound")
        else:
            data = self.files[name].read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept_Ranges": "bytes"}
            if asked := self.headers.get("Range"):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last or len(data)), len(data) - 1)
                span = f"bytes {start}-{end}/{len(data)}"
                self.answer(206, data[start : end + 1], **headers, Content_Range=span)
            else:
                self.answer(200, data, **headers)
