"""The API on a real server: the command line's answers, one shape of errors, who is let in."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

from places import ASTRONAUT

pytest.importorskip("fastapi", reason="needs the extra [web]")

from made_server import BOUNDARY, Gate, ask, free_port, jpeg, metric, png, post, serving
from mien.errors import ModelFileError, ServingError
from mien.recognition.recognizer import Recognizer
from mien.serving.run import make_server, serve
from mien.serving.settings import ServeSettings, read_tokens
from tiny_models import make_model

TOKEN, OTHER_TOKEN = "a-token-of-some-length", "another.token~of_some-length"


@pytest.fixture(scope="module")
def port(tiny: Path) -> Iterator[int]:
    with serving(tiny, detectors=("auto", "none"), max_pixels=100_000_000) as port:
        yield port


def test_the_answer_is_the_command_lines(port: int, tiny: Path, tmp_path: Path) -> None:
    files = {
        "astronaut.png": ASTRONAUT.read_bytes(),
        "no face.jpg": jpeg(),
        "cut off.png": png()[:300],
        "text é.jpg": b"not an image",
        "empty.png": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-m", "mien", "predict", *files, "--model", str(tiny), "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    answer = post(port, "/v1/predict", *files.items())
    assert (answer.status, answer.body) == (200, done.stdout)
    assert [len(image["faces"]) for image in answer.json["images"]] == [1, 0, 0, 0, 0]
    assert [image["error"] is None for image in answer.json["images"]] == [True, True, False, False, False]


def test_details_where_the_server_was_told_so(tiny: Path) -> None:
    with serving(tiny, detectors=("auto",), details=True) as port:
        astronaut = ("astronaut.png", ASTRONAUT.read_bytes())
        (face,) = post(port, "/v1/predict", astronaut).json["images"][0]["faces"]
        head, row = post(port, "/v1/predict?format=csv", astronaut).body.decode().splitlines()
        (crop,) = post(port, "/v1/predict/faces", astronaut).json["images"][0]["faces"]
    expected = Recognizer(tiny, details=True, threads=1).predict(ASTRONAUT)[0].to_dict()["details"]
    assert face["details"] == expected
    assert dict(zip(head.split(","), row.split(","), strict=True))["yaw"] == str(expected["pose"]["yaw"])
    assert "detector" in crop["details"]["error"]


def test_the_server_balances_as_it_was_told(tmp_path: Path) -> None:
    prior = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
    model = make_model(tmp_path / "m.onnx", prior=prior, balance=0.25)
    for balance in (None, 0.0, 1.0):
        with serving(model, detectors=("none",), balance=balance) as port:
            answer = post(port, "/v1/predict", ("astronaut.png", ASTRONAUT.read_bytes())).json
        recognizer = Recognizer(model, detector="none", balance=balance)
        wanted = recognizer.predict(ASTRONAUT.read_bytes())
        assert answer["model"] == recognizer.summary().to_dict()
        assert answer["images"][0]["faces"] == wanted.to_dict()["faces"]
    bare = make_model(tmp_path / "bare.onnx")
    for workers in (1, 2):
        with pytest.raises(ModelFileError, match=r"bare\.onnx: its metadata has no prior"):
            serve(ServeSettings(models=(str(bare),), detectors=("none",), port=0, balance=0.5), workers=workers)


def test_a_body_may_be_the_image_itself_whatever_its_type_says(port: int) -> None:
    whole = ask(port, "POST", "/v1/predict", ASTRONAUT.read_bytes(), Content_Type="text/html").json["images"][0]
    assert (whole["source"], whole["width"], len(whole["faces"])) == ("image 0", 512, 1)
    (named,) = post(port, "/v1/predict", ("x", ASTRONAUT.read_bytes())).json["images"]
    assert named["faces"] == whole["faces"]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


ONE, TWO = png(1), jpeg(2)
URL = f"data:image/png;base64,{encoded(ONE)}"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", json.dumps({"images": [encoded(ONE)]})),
        ("application/json", json.dumps({"image": URL, "model_name": "x"})),
        ("application/json; charset=utf-8", json.dumps({"img": URL})),
        ("text/plain", json.dumps({"img_path": URL})),
        ("application/json", json.dumps([URL])),
        ("application/json", json.dumps(URL)),
        ("text/plain", URL),
        ("text/plain", encoded(ONE)),
        ("application/octet-stream", encoded(ONE)),
        ("application/x-www-form-urlencoded", urlencode({"image": URL})),
        ("application/x-www-form-urlencoded", f"image={encoded(ONE)}"),
        (
            "application/json",
            json.dumps({"images": [base64.urlsafe_b64encode(ONE).decode().rstrip("=")], "image": None}),
        ),
        ("application/json", json.dumps({"images": ["\n".join(textwrap.wrap(encoded(ONE), 76))]})),
        ("application/json", json.dumps({"images": [f"  data:;base64,{encoded(ONE)}\n"]}).encode("utf-16")),
        ("application/x-www-form-urlencoded", urlencode({"images[0]": URL})),
        ("application/x-www-form-urlencoded", json.dumps({"images": [URL]})),
    ],
)
def test_images_as_text(port: int, content_type: str, body: str | bytes) -> None:
    answer = ask(port, "POST", "/v1/predict?detector=none", body, Content_Type=content_type)
    (expected,) = ask(port, "POST", "/v1/predict?detector=none", ONE).json["images"]
    assert (answer.status, answer.json["images"]) == (200, [expected])


def part(disposition: str, data: bytes, boundary: str = BOUNDARY) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FORM = f"multipart/form-data; boundary={BOUNDARY}"
ONE_FILE = part('name="photo"; filename="a.png"', ONE)


@pytest.mark.parametrize(
    ("content_type", "body", "names"),
    [
        *(
            (FORM, part(f'name="{name}"; filename="a.png"', ONE), ["a.png"])
            for name in ("file", "images[]", "photo", "")
        ),
        (FORM, part('name="image"', ONE), ["image 0"]),
        (FORM, part('name="photo"', ONE), ["image 0"]),
        (FORM, part('name="images[0]"', URL.encode()) + part('name="note"', b"hello"), ["image 0"]),
        (FORM, part("name=\"f\"; filename*=UTF-8''a%20b.png", ONE), ["a b.png"]),
        (FORM, part('name="file"; filename=""', b"") + ONE_FILE, ["a.png"]),  # an empty file input of a browser
        (FORM, part('name="file"; filename="a.txt"', encoded(ONE).encode()), ["a.txt"]),
        (FORM, b"This is a form.\r\n" + ONE_FILE, ["a.png"]),
        # The boundary is missing or wrong, as from clients that set the header themselves.
        *(
            (kind, ONE_FILE, ["a.png"])
            for kind in ("multipart/form-data", f"{FORM}x", "application/json", "text/plain")
        ),
    ],
)
def test_forms_of_many_clients(port: int, content_type: str, body: bytes, names: list[str]) -> None:
    answer = ask(port, "POST", "/v1/predict?detector=none", body + END, Content_Type=content_type)
    (expected,) = ask(port, "POST", "/v1/predict?detector=none", ONE).json["images"]
    assert (answer.status, answer.json["images"]) == (200, [{**expected, "source": name} for name in names])


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity"])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/faces", "/v1/videos"])
def test_a_compressed_body_is_refused_with_a_reason(port: int, path: str, encoding: str) -> None:
    answer = ask(port, "POST", path, gzip.compress(ONE), Content_Encoding=encoding)
    assert (answer.status, answer.code) == (415, "encoded")
    assert ask(port, "POST", "/v1/predict", ONE, Content_Encoding="identity").status == 200


def test_many_small_values_in_json_are_refused_before_they_are_parsed(port: int) -> None:
    for value in ("{},", "[],", "1,"):
        body = "[" + value * 200_000 + "1]"
        assert ask(port, "POST", "/v1/predict", body, Content_Type="application/json").code == "bad_json"
    fields = b"".join(part(f'name="{number}"', b"") for number in range(2000))
    assert ask(port, "POST", "/v1/predict", fields + END, Content_Type=FORM).code == "too_large"


def test_one_of_several_in_json_may_be_unreadable(port: int) -> None:
    body = json.dumps({"images": [URL, "nonsense", encoded(TWO), encoded(b"%PDF-1.7"), URL[:200]]})
    images = ask(port, "POST", "/v1/predict?detector=none", body, Content_Type="application/json").json["images"]
    assert [image["error"] is None for image in images] == [True, False, True, False, False]
    assert [image["source"] for image in images] == [f"image {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", '{"images": ["', "bad_json"),
        ("application/json", "[" * 100_000, "bad_json"),
        ("application/json", '{"images": []}', "no_image"),
        ("application/json", '{"images": null}', "no_image"),
        ("application/json", '{"images": [7, null, {"a": 1}]}', "bad_json"),
        ("application/json", '{"images": [[137, 80, 78, 71]]}', "bad_json"),
        ("application/json", '{"image": {"b64": "x"}}', "bad_json"),
        ("application/json", '{"a":' * 3000, "bad_json"),
        ("application/json", b'{"images": ["\xe9"]}', "bad_json"),
        ("application/json", '{"images": ["\\ud800"]}', "no_image"),
        ("application/json", "7", "bad_json"),
        ("application/json", "", "no_image"),
        ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", "no_image"),
        ("application/json", '{"photo": "x"}', "no_image"),
        ("application/json", '{"img_path": "/etc/passwd"}', "no_image"),
        ("application/json", '{"img_path": "http://127.0.0.1/a.jpg"}', "no_image"),
        ("application/x-www-form-urlencoded", "image=/etc/passwd", "no_image"),
        ("application/x-www-form-urlencoded", "&".join("a=1" for _ in range(2000)), "no_image"),
        ("text/plain", "hello", "no_image"),
        (FORM, part('name="note"', b"hello") + END, "no_image"),
        (FORM, part('name="file"; filename=""', b"") + END, "no_image"),
        (FORM, END, "no_image"),
    ],
)
def test_text_without_images_says_how_to_send_them(port: int, content_type: str, body: str | bytes, code: str) -> None:
    answer = ask(port, "POST", "/v1/predict", body, Content_Type=content_type)
    assert (answer.status, answer.code) == (400, code)
    assert "base64 or data URL" in answer.json["error"]["message"]


def test_json_has_the_limits_of_forms(tiny: Path) -> None:
    with serving(tiny, max_files=2, max_pixels=1000) as port:
        three = json.dumps({"images": [URL] * 3})
        assert ask(port, "POST", "/v1/predict", three, Content_Type="application/json").code == "too_large"
        (image,) = ask(port, "POST", "/v1/predict", json.dumps({"image": URL})).json["images"]
        assert "the limit is" in image["error"]
        (reduced,) = ask(port, "POST", "/v1/predict", json.dumps({"image": encoded(TWO)})).json["images"]
        assert (reduced["width"], reduced["height"], reduced["faces"][0]["box"]) == (24, 24, [0, 0, 24, 24])


def test_faces_are_taken_as_they_are(port: int) -> None:
    images = post(port, "/v1/predict/faces", ("a.png", png(1)), ("b.jpg", jpeg(2))).json["images"]
    assert [image["faces"][0]["box"] for image in images] == [[0, 0, 48, 48]] * 2
    same = post(port, "/v1/predict?detector=none", ("a.png", png(1)), ("b.jpg", jpeg(2))).json["images"]
    assert same == images


def test_annotated_image(port: int) -> None:
    answer = post(port, "/v1/predict?annotate=1", ("a.png", ASTRONAUT.read_bytes()))
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    drawn = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    original = cv2.imread(str(ASTRONAUT))
    changed = (drawn != original).any(axis=2)
    assert 0.005 < changed.mean() < 0.2
    assert ask(port, "POST", "/v1/predict?annotate=1", jpeg()).headers["content-type"] == "image/jpeg"
    assert post(port, "/v1/predict?annotate=1", ("a", png()), ("b", png())).code == "one_image"
    unreadable = post(port, "/v1/predict?annotate=1", ("secret.png", b"hello"))
    assert (unreadable.status, unreadable.code) == (422, "unreadable_image")
    assert b"secret" not in unreadable.body


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/predict?model=../../etc/passwd", b"x", 400, "unknown_model"),
        ("POST", "/v1/predict?detector=yunet", b"x", 400, "unknown_detector"),
        ("POST", "/v1/predict?annotate=maybe", b"x", 422, "bad_parameter"),
        ("POST", "/v1/predict", None, 400, "no_image"),
        ("GET", "/v1/predict", None, 405, "method_not_allowed"),
        ("POST", "/predict", None, 404, "not_found"),
        ("PUT", "/v1/videos/x", None, 405, "method_not_allowed"),
        ("GET", "/v1/../../etc/passwd", None, 404, "not_found"),
        ("GET", "/docs", None, 404, "not_found"),
    ],
)
def test_errors_have_one_shape(port: int, method: str, path: str, body: bytes, status: int, code: str) -> None:
    answer = ask(port, method, path, body)
    assert (answer.status, answer.code) == (status, code)
    assert "content-security-policy" in answer.headers


def test_options_names_every_method_of_a_path(port: int) -> None:
    answer = ask(port, "OPTIONS", "/v1/videos/x")
    assert (answer.status, answer.headers["allow"]) == (204, "DELETE, GET, OPTIONS")
    assert ask(port, "PUT", "/v1/videos/x").headers["allow"] == "DELETE, GET, OPTIONS"


def test_metrics_name_the_routes_and_count_refusals_by_kind(port: int) -> None:
    ask(port, "GET", f"/v1/videos/{'a' * 32}")
    text = ask(port, "GET", "/metrics").body.decode()
    assert 'mien_requests_total{method="GET",route="/v1/videos/{video}",status="404"}' in text
    assert 'mien_refused_total{code="no_video",kind="no_video"}' in text
    assert "mien_work_bytes" in text


@pytest.mark.parametrize(
    "broken", ["multipart/form-data", "multipart/form-data; boundary=other", "multipart/x; boundary="]
)
def test_a_damaged_form_is_refused(port: int, broken: str) -> None:
    answer = ask(
        port, "POST", "/v1/predict", b'--b\r\nContent-Disposition: form-data; name="files"', Content_Type=broken
    )
    assert (answer.status, answer.code) == (400, "bad_multipart")


def test_several_models_are_chosen_by_name_and_stay_what_they_were(tiny: Path, tmp_path: Path) -> None:
    sad, happy = (make_model(tmp_path / f"{name}.onnx", favourite=name) for name in ("sad", "happy"))
    with serving(sad, models=(str(sad), str(happy))) as port:
        served = ask(port, "GET", "/v1/models").json
        assert [model["name"] for model in served["models"]] == ["sad", "happy"]
        make_model(happy, favourite="fear")  # a new file under the old name, while the server runs
        answers = [post(port, f"/v1/predict{query}", ("a", png())).json for query in ("", "?model=happy")]
    assert [a["images"][0]["faces"][0]["expression"] for a in answers] == ["sad", "happy"]
    assert [a["model"]["sha256"] for a in answers] == [model["sha256"] for model in served["models"]]


def test_faces_of_concurrent_requests_are_classified_together(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tiny, batch_window_ms=300) as port, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda seed: post(port, "/v1/predict", (str(seed), png(seed))), range(8)))
        batches = metric(port, "mien_batch_faces_count")
        assert metric(port, "mien_faces_total") == metric(port, "mien_batch_faces_sum") == 8
        alone = [post(port, "/v1/predict", (str(seed), png(seed))).json["images"] for seed in range(8)]
    assert batches < 8
    assert [answer.json["images"] for answer in answers] == alone


def test_security_headers_are_on_every_answer(port: int) -> None:
    for answer in (ask(port, "GET", "/healthz"), ask(port, "GET", "/nothing"), post(port, "/v1/predict", ("a", png()))):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_other_names_for_this_machine_and_pages_of_other_sites_are_refused(port: int) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "8.8.8.8:80"):
        assert ask(port, "GET", "/v1/models", Host=host).code == "wrong_host"
    for host in ("localhost", f"LOCALHOST:{port}", "[::1]:9", "127.0.0.1"):
        assert ask(port, "GET", "/v1/models", Host=host).status == 200
    for origin in ("https://evil.example", "null", f"http://localhost:{port}", "http://127.0.0.1:1", "http://[evil"):
        assert ask(port, "GET", "/v1/models", Origin=origin).code == "wrong_origin"
    assert ask(port, "GET", "/v1/models", Origin=f"http://127.0.0.1:{port}").status == 200


def test_origins_that_are_named_are_let_in(tiny: Path) -> None:
    site = "https://faces.example"
    with serving(tiny, allowed_origins=(site,)) as port:
        before = ask(port, "OPTIONS", "/v1/predict", Origin=site, Access_Control_Request_Method="POST")
        assert (before.status, before.headers["access-control-allow-origin"]) == (200, site)
        answer = post(port, "/v1/predict", ("a", png()), Origin=site)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, site)
        assert post(port, "/v1/predict", ("a", png()), Origin="https://evil.example").code == "wrong_origin"


def test_a_token_is_needed_where_there_is_a_file_of_them(tiny: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(f"# for the page\n{TOKEN}\n\n{OTHER_TOKEN}\n")
    with serving(tiny, token_file=tokens) as port:
        assert ask(port, "GET", "/healthz").status == 200
        assert ask(port, "GET", "/v1/openapi.json").status == 200  # the page links to it
        for path in ("/v1/models", "/metrics"):
            refused = ask(port, "GET", path)
            assert (refused.status, refused.code) == (401, "token_needed")
            assert refused.headers["www-authenticate"].startswith("Bearer")
        for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer ", "Bearer é"):
            assert ask(port, "GET", "/v1/models", Authorization=wrong).status == 401
        for token in (TOKEN, OTHER_TOKEN):
            assert post(port, "/v1/predict", ("a", png()), Authorization=f"Bearer {token}").status == 200


def test_probes_and_metrics_have_a_port_of_their_own_without_tokens(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a" * 32)
    admin = free_port()
    with serving(tiny, token_file=tmp_path / "tokens", admin_port=admin) as port:
        assert ask(port, "GET", "/metrics").status == 401
        assert [ask(admin, "GET", path).status for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        assert ask(admin, "GET", "/metrics", Host="evil.example").code == "wrong_host"
        for path in ("/", "/v1/models", "/v1/openapi.json"):
            assert ask(admin, "GET", path, Authorization=f"Bearer {'a' * 32}").code == "not_found"
    with serving(tiny, max_connections=2, client_share=1, admin_port=admin) as port:
        held = [socket.create_connection(("127.0.0.1", admin)) for _ in range(4)]
        time.sleep(0.6)
        assert metric(port, 'mien_closed_total{reason="too_many"}') == 0  # they do not count
        for client in held:
            client.close()


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "has spaces in between it\n", "ümlaut-ümlaut-ümlaut\n"])
def test_token_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ServingError, match="openssl rand") as caught:
        read_tokens(tmp_path / "tokens")
    assert "ümlaut" not in str(caught.value)
    with pytest.raises(ServingError, match="one token per line"):
        read_tokens(tmp_path / "gone")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_upload_mb": 0}, {"timeout_s": 0}, {"port": 70000}, {"models": ()}, {"detectors": ()},
        {"queue_length": 3}, {"allowed_origins": ("*",)}, {"models": ("a", "a")}, {"head_timeout_s": float("nan")},
    ],
)  # fmt: skip
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ServingError):
        ServeSettings(**wrong)  # type: ignore[arg-type]


def test_a_model_that_is_not_there_and_a_port_that_is_taken(port: int) -> None:
    with pytest.raises(ModelFileError, match="no such model"):
        make_server(ServeSettings(models=("gone.onnx",)))
    with pytest.raises(ServingError, match="can't listen"):
        serve(ServeSettings(port=port))


def test_not_ready_before_it_is_warm(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr("mien.serving.engine.make_detector", lambda *_, **__: gate)
    states = []

    def look(port: int) -> None:
        states.extend([ask(port, "GET", "/healthz").status, ask(port, "GET", "/readyz").status])
        states.append(post(port, "/v1/predict", ("a", png())).code)
        gate.open.set()

    import made_server  # its `serving` waits for readiness: looked at just before

    real, looked = made_server.ask, []

    def first_look(port: int, method: str, path: str) -> object:
        if not looked:
            looked.append(True)
            monkeypatch.setattr(made_server, "ask", real)
            look(port)
        return real(port, method, path)

    monkeypatch.setattr(made_server, "ask", first_look)
    with serving(tiny) as port:
        assert states == [200, 503, "busy"]
        assert post(port, "/v1/predict", ("a", png())).status == 200


def test_the_page_is_served_beside_the_api(port: int) -> None:
    page = ask(port, "GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert ask(port, "POST", "/", b"x").code == "not_found"
    for path in ("/../run.py", "/..%2frun.py", "/%2e%2e/run.py", "//etc/passwd", "/static", "/a%00b"):
        assert ask(port, "GET", path).code == "not_found"


def test_the_openapi_document_names_every_path(port: int) -> None:
    document = ask(port, "GET", "/v1/openapi.json").json
    paths = {"/v1/predict", "/v1/predict/faces", "/v1/models", "/healthz", "/readyz", "/metrics"}
    assert {path for path in document["paths"] if not path.startswith("/v1/videos")} == paths
    assert {"multipart/form-data", "image/*", "application/json"} == set(
        document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    )
    assert "413" in document["paths"]["/v1/predict"]["post"]["responses"]
    assert json.dumps(document).count("cdn") == 0
