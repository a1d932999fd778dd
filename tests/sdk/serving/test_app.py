"""The application, asked in this process."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
from starlette.testclient import TestClient

from sdk import FaceDetector, QualityScorer
from sdk.errors import InputError
from sdk.serving.app import PATH, Service
from sdk.serving.settings import ServeSettings, read_keys
from sdk.serving.work import Work

PHOTO = (Path(__file__).parents[3] / "examples/media/astronaut.jpg").read_bytes()
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    """The packaged models, with room for four pictures."""
    detector = FaceDetector()
    with QualityScorer("fiqa-nano", "cpu", threads=1, detector=detector, max_pixels=1_000_000) as scorer:
        made = Work(scorer, detector, 4)
        yield made
        made.close()


def client(work: Work, **settings: object) -> TestClient:
    service = Service(work, ServeSettings(**settings))  # type: ignore[arg-type]
    return TestClient(service.app(), base_url="http://127.0.0.1", raise_server_exceptions=False)  # type: ignore[arg-type]


def problem(answer: object, status: int, kind: str) -> str:
    """Check that an answer is a problem; return its detail."""
    assert answer.status_code == status  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    values = answer.json()  # type: ignore[attr-defined]
    assert (values["type"], values["status"]) == (f"urn:fiqa:problem:{kind}", status)
    assert set(values) == {"type", "title", "status", "detail"}
    return str(values["detail"])


def test_a_photo_scores_as_in_the_sdk(work: Work) -> None:
    (wanted,) = work.scorer.assess(PHOTO)
    answer = client(work).post(PATH, content=PHOTO)
    assert answer.status_code == 200
    (face,) = answer.json()["faces"]
    assert face["score"] == round(wanted.score, 6)
    assert [face[name] for name in ("x", "y", "width", "height")] == [round(value, 2) for value in wanted.box]
    assert (face["path"], face["face"], face["accepted"], face["reasons"], face["error"]) == ("", 0, None, None, None)


def test_an_aligned_face(work: Work) -> None:
    (wanted,) = work.scorer.assess(PHOTO)
    data = cv2.imencode(".png", wanted.crop)[1].tobytes()
    (face,) = client(work).post(PATH, params={"aligned": 1, "accept": "0.5"}, content=data).json()["faces"]
    assert face["score"] == pytest.approx(wanted.score, abs=1e-5)
    assert face["accepted"] is True
    assert "wanted uint8 (112, 112, 3)" in problem(client(work).post(f"{PATH}?aligned=1", content=PHOTO), 422, "image")


def test_several_pictures_keep_their_order_and_their_errors(work: Work) -> None:
    grey = cv2.imencode(".png", np.full((80, 80), 128, np.uint8))[1].tobytes()
    files = [("picture", (name, data)) for name, data in (("a.jpg", PHOTO), ("b", b"text"), ("c.png", grey))]
    rows = client(work).post(PATH, files=files).json()["faces"]
    assert [row["path"] for row in rows] == ["a.jpg", "b", "c.png"]
    assert [row["score"] is None for row in rows] == [False, True, True]
    assert rows[1]["error"].startswith("this is not an image")
    assert rows[2]["error"] == "no face found"


def test_reasons(work: Work) -> None:
    (face,) = client(work).post(f"{PATH}?reasons=1", content=PHOTO).json()["faces"]
    assert isinstance(face["reasons"], list)
    assert face["measures"]["eye_distance"] == pytest.approx(42.6, abs=1)


@pytest.mark.parametrize(
    ("query", "body", "status", "kind", "text"),
    [
        ("", b"", 400, "empty", "the body is empty"),
        ("", b"no picture", 422, "image", "this is not an image"),
        ("", b"x" * 2001, 413, "too-large", "wanted at most 2,000"),
        ("?accept=enroll", b"x", 400, "bad-request", "has no point 'enroll', it has: enrol, identify"),
        ("?accept=nan", b"x", 400, "bad-request", "wanted a score"),
        ("?aligned=perhaps", b"x", 400, "bad-request", "aligned"),
    ],
)
def test_bad_requests(work: Work, query: str, body: bytes, status: int, kind: str, text: str) -> None:
    assert text in problem(client(work, max_bytes=2000).post(PATH + query, content=body), status, kind)


def test_a_picture_with_too_many_pixels(work: Work) -> None:
    data = cv2.imencode(".png", np.zeros((1001, 1000), np.uint8))[1].tobytes()
    assert "1,000,000" in problem(client(work).post(PATH, content=data), 422, "image")


def test_bad_multipart(work: Work) -> None:
    many = [("picture", (str(number), b"x")) for number in range(300)]
    assert "more than 64 pictures" in problem(client(work).post(PATH, files=many), 413, "too-many-parts")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    problem(client(work).post(PATH, content=b"--b\r\n\r\nx", headers=kind), 400, "bad-request")
    problem(client(work).post(PATH, content=b"x", headers={"content-type": "multipart/form-data"}), 400, "bad-request")


def test_a_full_queue(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_inside", 4)
    answer = client(work).post(PATH, content=PHOTO)
    problem(answer, 503, "busy")
    assert answer.headers["retry-after"] == "1"


def test_memory_for_bodies(work: Work) -> None:
    problem(client(work, memory=1000).post(PATH, content=PHOTO), 503, "busy")


def test_keys(work: Work) -> None:
    asked = client(work, keys=("another-long-key", KEY))
    assert asked.post(PATH, content=PHOTO, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    assert asked.post(PATH, content=PHOTO, headers={"x-api-key": KEY}).status_code == 200
    for headers in ({}, {"x-api-key": KEY[:-1]}, {"authorization": f"Basic {KEY}"}):
        problem(asked.post(PATH, content=PHOTO, headers=headers), 401, "key")
    problem(asked.get("/metrics"), 401, "key")
    assert asked.get("/health").json() == {"status": "ok"}


def test_another_host_without_a_key(work: Work) -> None:
    problem(client(work).post(PATH, content=PHOTO, headers={"host": "example.com"}), 403, "host")


def test_paths(work: Work) -> None:
    asked = client(work)
    assert asked.get("/ready").json() == {"status": "ready"}
    problem(asked.get("/nothing"), 404, "not-found")
    problem(asked.get(PATH), 405, "method")
    problem(asked.post(f"{PATH}/", content=PHOTO), 404, "not-found")
    problem(asked.post(f"{PATH}?accept=", content=PHOTO), 400, "bad-request")
    page = asked.get("/")
    assert "src=" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_openapi_document_knows_keys_types_and_errors(work: Work) -> None:
    document = client(work, keys=(KEY,)).get("/openapi.json").json()
    score, metrics = document["paths"][PATH]["post"], document["paths"]["/metrics"]["get"]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert score["security"] == metrics["security"] == [{"bearer": []}, {"header": []}, {}]
    assert {"200", "400", "401", "403", "408", "413", "422", "503", "504"} == set(score["responses"])
    assert list(metrics["responses"]["200"]["content"]) == ["text/plain"]
    assert {"403", "503"} < set(document["paths"]["/ready"]["get"]["responses"])


def test_metrics(work: Work) -> None:
    asked = client(work)
    asked.post(f"{PATH}?accept=2", content=PHOTO)
    asked.post(PATH, content=b"text")
    lines = asked.get("/metrics").text.splitlines()
    for line in (
        'fiqa_requests_total{status="200"} 1.0', 'fiqa_requests_total{status="422"} 1.0', "fiqa_faces_total 1.0",
        'fiqa_problems_total{kind="image"} 1.0', 'fiqa_rejected_faces_total{reason="none given"} 1.0', "fiqa_queue 0.0",
    ):  # fmt: skip
        assert line in lines


def test_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_KEY", KEY)
    assert read_keys(None) == (KEY,)
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n\nanother-long-key\n")
    assert read_keys(file) == (KEY, "another-long-key")
    for text, found in (("short", "wanted at least 16"), ("", "holds no key")):
        file.write_text(text)
        with pytest.raises(InputError, match=found):
            read_keys(file)
