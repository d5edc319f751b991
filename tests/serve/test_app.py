"""The endpoint: what it answers, what it refuses, and what it leaves behind."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from cli_runs import invoke
from fastapi.testclient import TestClient
from PIL import Image
from served import LIMITS, WAITING

from scmrl_plugins.core.run.directory import create_run, open_run
from scmrl_plugins.serve import app
from scmrl_plugins.serve.answer import Answers


@pytest.fixture
def client(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client in this process; no request leaves a temporary file."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield TestClient(app.create(answers, "run", LIMITS, WAITING), raise_server_exceptions=False)
    assert not any((tmp_path / "temporary").iterdir())


def parts(files: Path, **other: Any) -> dict[str, Any]:
    sound, picture = (files / "a.wav").read_bytes(), (files / "a.png").read_bytes()
    return {"audio": ("a.wav", sound, "audio/wav"), "visual": ("a.png", picture, "image/png"), **other}


@pytest.mark.slow
def test_a_served_prediction_is_that_of_the_command(client: TestClient, run: Path, files: Path) -> None:
    typed = ["--audio", files / "a.wav", "--visual", files / "a.png", "--device", "cpu", "--json"]
    expected = json.loads(invoke("predict", run, *typed).out)["predictions"]
    found = client.post("/predict", files=parts(files)).json()
    assert found["predictions"] == expected  # to the bit
    assert client.post("/predict?explain=false", files=parts(files)).json()["predictions"] == expected
    for name in ("audio", "visual"):
        assert sum(one["probability"] for one in found["alone"][name]) == pytest.approx(1, abs=1e-5)
        assert len(found["grad_cam"][name]) ** 2 == sum(map(len, found["grad_cam"][name]))
        assert found["images"][name].startswith("data:image/png;base64,")
    assert found["alone"]["method"] == "blank"
    assert found["alone"]["audio"] != found["alone"]["visual"] != expected
    assert all(0 <= rate <= 1 for rate in found["firing_rates"].values())
    assert any(found["firing_rates"].values())


def bomb(width: int) -> bytes:
    """A PNG of a few kB with more pixels than are read."""
    buffer = io.BytesIO()
    Image.new("1", (width, width)).save(buffer, format="PNG")
    return buffer.getvalue()


def long_sound() -> bytes:
    """Half a minute of little noise in a few kB."""
    buffer = io.BytesIO()
    samples = np.zeros(240_000, np.int16)
    samples[::2000] = 900
    soundfile.write(buffer, samples, 8000, format="FLAC")
    return buffer.getvalue()


@pytest.mark.slow
def test_what_is_refused(client: TestClient, files: Path) -> None:
    sound, picture = (parts(files)[name] for name in ("audio", "visual"))
    for code, given, words in (
        (415, {"audio": ("a.txt", b"hello", "text/plain"), "visual": picture}, "audio is of type 'text/plain'"),
        (415, {"audio": sound, "visual": ("a.svg", b"<svg/>", "image/svg+xml")}, "visual is of type"),
        (415, {"audio": ("a", b"MZ\x90", "application/octet-stream"), "visual": picture}, "audio is of type"),
        (422, {"audio": ("a.wav", b"garbage", "audio/wav"), "visual": picture}, "audio: not a sound file"),
        (422, {"audio": sound, "visual": ("a.png", b"garbage", "image/png")}, "visual: not an image"),
        (422, {"audio": ("a.wav", b"", "audio/wav"), "visual": picture}, "audio: is empty"),
        (422, {"video": ("a.mp4", b"garbage", "video/mp4")}, "video.mp4: not a "),
        (422, {"audio": sound}, "the model needs visual, too"),
        (422, {"sound": sound}, "no part 'sound'"),
        (422, {"video": ("a.mp4", b"x", "video/mp4"), "audio": sound}, "video gives both"),
        (422, {"audio": sound, "visual": ("a.png", bomb(9000), "image/png")}, "pixels"),
        (422, {"audio": ("a.flac", long_sound(), "audio/flac"), "visual": picture}, "lasts more than 3 s"),
        (
            413,
            {"audio": ("a.wav", bytes(LIMITS.size), "audio/wav"), "visual": picture},
            "the files have more than",
        ),
    ):
        done = client.post("/predict", files=given)
        assert (done.status_code, words in done.json()["detail"]) == (code, True), done.text
        assert "/temporary" not in done.text
    assert client.post("/predict", data={"audio": "/etc/passwd", "visual": "http://localhost/"}).status_code == 415
    assert client.post("/predict", json={"audio": "/etc/passwd"}).status_code == 415
    for boundary in ("; boundary=x", ""):
        headers = {"content-type": f"multipart/form-data{boundary}"}
        assert client.post("/predict", content=b"garbage", headers=headers).status_code == 422
    field = b'--x\r\nContent-Disposition: form-data; name="audio"\r\n\r\n/etc/passwd\r\n--x--\r\n'
    done = client.post("/predict", content=field, headers={"content-type": "multipart/form-data; boundary=x"})
    assert done.status_code == 422
    assert client.post("/predict", files=parts(files)).status_code == 200


@pytest.mark.slow
def test_names_of_files_are_ignored(client: TestClient, files: Path) -> None:
    sound, picture = (files / "a.wav").read_bytes(), (files / "a.png").read_bytes()
    expected = client.post("/predict?explain=false", files=parts(files)).json()["predictions"]
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\a.wav",
        "file:///etc/passwd",
        "a\0b",
        "x" * 500,
        "a.mp4",
    ):
        sent = {"audio": (name, sound, "application/octet-stream"), "visual": (name, picture, "image/png")}
        done = client.post("/predict?explain=false", files=sent)
        assert done.status_code == 200, name
        assert done.json()["predictions"] == expected


def test_a_fault_is_an_answer_and_a_line(
    client: TestClient,
    files: Path,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answers, "answer", lambda *_, **__: 1 / 0)
    done = client.post("/predict", files=parts(files))
    assert done.status_code == 500
    assert "ZeroDivisionError" not in done.text
    assert capfd.readouterr().err == "POST /predict: ZeroDivisionError: division by zero\n"
    assert client.get("/health").json()["requests"] == 0


def test_pages_and_health_need_no_network(client: TestClient) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["run"], health["modalities"]) == ("ok", "run", ["audio", "visual"])
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/health"} == set(paths)
    assert {"413", "415", "422", "429"} <= set(paths["/predict"]["post"]["responses"])
    for path in ("/", "/docs"):
        page = client.get(path)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not any(word in page.text for word in ("https://", "//cdn", '<link rel="stylesheet"', 'src="http'))


def test_a_missing_modality_where_it_is_known_how(small: Any, tmp_path: Path) -> None:
    """Of a data set that knows no durations, with a fusion in which nothing crosses."""
    create_run(tmp_path / "run", small(fusion={"name": "late"}))
    answers = Answers(open_run(tmp_path / "run"), torch.device("cpu"), 3.0)
    served = TestClient(app.create(answers, "run", LIMITS, WAITING))
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).normal(size=(1, 8, 8)))
    found = served.post("/predict", files={"audio": ("a", buffer.getvalue(), "audio/wav")}).json()
    assert found["alone"]["method"] == "split"
    assert "visual" not in found["alone"]
    for alone, predicted in zip(found["alone"]["audio"], found["predictions"], strict=True):
        assert alone["label"] == predicted["label"]
        assert alone["probability"] == pytest.approx(predicted["probability"], abs=1e-6)
    assert list(found["images"]) == ["audio"]
