"""The application: a page, the endpoint ``POST /predict``, ``/health``, and the description of both.

One thread computes, one request after the other. A request takes a slot of the queue before its files are read;
where none is free, the answer is 429.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import ClientDisconnect

from scmrl_plugins import __version__
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import describe, printable
from scmrl_plugins.serve import uploads
from scmrl_plugins.serve.answer import Answers

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the pages: nothing from elsewhere."""
REFUSALS = {
    408: "the request took too long",
    413: "the files are too large",
    415: "a file is of a type that is not allowed",
    422: "a file cannot be used, or one is missing: `detail` is one line with the reason and the remedy",
    429: "the queue is full: send it again after the seconds in `Retry-After`",
}
"""The status codes of ``POST /predict`` beside 200."""
_FILE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": dict.fromkeys(uploads.PARTS, _FILE)}
            }
        },
    }
}


class Queue:
    """Slots for requests, and the one thread that computes."""

    def __init__(self, slots: int) -> None:
        self.slots, self.taken = slots, 0
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="scmrl-serve")

    def enter(self) -> bool:
        """Take a slot if one is free."""
        free = self.taken < self.slots
        self.taken += free
        return free

    def leave(self) -> None:
        """Give the slot back."""
        self.taken -= 1

    async def run(self, function: Any) -> Any:
        """``function()`` in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function)


def create(answers: Answers, name: str, limits: uploads.Limits, waiting: int) -> FastAPI:
    """The application for a run of this name, in which ``waiting`` requests may wait while one is computed."""
    queue = Queue(waiting + 1)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.thread.shutdown(cancel_futures=True)

    app = FastAPI(
        title=f"scmrl serve: {name}", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)

    @app.post(
        "/predict", openapi_extra=_BODY, responses={code: {"description": REFUSALS[code]} for code in REFUSALS}
    )
    async def predict(request: Request, explain: bool = True) -> JSONResponse:
        """Classify a sound, a picture, both, or a video with its sound, sent as multipart/form-data.

        `predictions` are those of `scmrl predict --json`. Unless `explain=false`: `alone`, what each modality says
        without the other; `attention` and `grad_cam`, rows of a map over the picture or the spectrogram, from top
        to bottom; `images`, the inputs as data URLs; `firing_rates` by layer.
        """
        if not queue.enter():
            await uploads.discard(request, limits)
            raise HTTPException(429, "too many requests are waiting; send it again", {"Retry-After": "1"})
        try:
            async with uploads.received(request, limits) as received:
                _check(answers, received)
                return JSONResponse(await queue.run(functools.partial(_answer, answers, received, explain)))
        finally:
            queue.leave()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server is ready, its run, and how many requests it has."""
        model = answers.predictor.model
        return {
            "status": "ok",
            "run": name,
            "modalities": list(model.modalities),
            "classes": len(model.classes),
            "device": str(answers.predictor.device),
            "requests": queue.taken,
            "limits": {"bytes": limits.size, "seconds": limits.seconds, "requests": queue.slots},
        }

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        model = answers.predictor.model
        return _page("page.html", name=name, classes=len(model.classes), modalities=list(model.modalities))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _page("docs.html", name=name, paths=app.openapi()["paths"], parts=uploads.PARTS)

    return app


def _check(answers: Answers, received: uploads.Received) -> None:
    """``HTTPException`` 422 where a modality is missing that the model needs."""
    video = "video" in received.files
    missing = answers.missing(video or "audio" in received.files, video or "visual" in received.files)
    if missing:
        raise HTTPException(422, f"the model needs {missing}, too; send the part {missing}")


def _answer(answers: Answers, received: uploads.Received, explain: bool) -> dict[str, Any]:
    with received.paths() as (audio, visual):
        try:
            return answers.answer(audio, visual, explain=explain)
        except UserError as error:
            folder = next(path.parent for path in (audio, visual) if path is not None)
            line = printable(str(error).replace(f"{folder}/", ""), 500)
            raise HTTPException(422, line) from None


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # which nobody reads


async def _failed(request: Request, error: Exception) -> JSONResponse:
    print(printable(f"{request.method} {request.url.path}: {describe(error)}", 500), file=sys.stderr, flush=True)
    return JSONResponse({"detail": "the server failed on this request; see its output"}, 500)


@functools.cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """What is between backticks as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _page(template: str, **values: Any) -> HTMLResponse:
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    text = _environment().get_template(template).render(style=style, version=__version__, **values)
    return HTMLResponse(text, headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"})
