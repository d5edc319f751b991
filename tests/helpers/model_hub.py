"""A hub of models on this machine: what huggingface_hub asks to create, upload and download a repository."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from local_server import LocalServer, running

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub(LocalServer):
    """``repositories`` have the files by name; who writes needs the token."""

    def __init__(self, token: str) -> None:
        super().__init__(Handler)
        self.token = token
        self.repositories: dict[str, dict[str, bytes]] = {}


def serve(token: str) -> contextlib.AbstractContextManager[ModelHub]:
    """The hub, up as long as the block runs."""
    return running(ModelHub(token))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {path}")
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer(401, b"{}")
        elif path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
            self.server.repositories.setdefault(name, {})
            self.tell({"url": f"{self.server.address}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self.tell({"errors": [], "warnings": []})
        else:
            self.repository(path, body)

    do_GET = do_POST = do_HEAD  # noqa: N815

    def repository(self, path: str, body: bytes) -> None:
        """What is asked of a repository, or of a file of one."""
        parts = path.removeprefix("/api/models").strip("/").split("/")
        files, rest = self.server.repositories.get("/".join(parts[:2])), parts[2:]
        if files is None:
            self.answer(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif rest[:1] == ["preupload"]:
            named = [one["path"] for one in json.loads(body)["files"]]
            self.tell({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in named]})
        elif rest[:1] == ["commit"]:
            for line in body.splitlines():
                given = json.loads(line)
                if given["key"] == "file":
                    files[given["value"]["path"]] = base64.b64decode(given["value"]["content"])
            address = f"{self.server.address}/{'/'.join(parts[:2])}/commit/{COMMIT}"
            self.tell({"commitUrl": address, "commitOid": COMMIT, "success": True})
        elif rest[:1] == ["resolve"] and (name := "/".join(rest[2:])) in files:
            self.answer(200, files[name], ETag=f'"{hashlib.sha1(files[name]).hexdigest()}"')
        elif rest[:1] == ["resolve"]:
            self.answer(404, b"{}", X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
        else:
            siblings = [{"rfilename": name} for name in files]
            self.tell({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": siblings, "private": False})

    def tell(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
