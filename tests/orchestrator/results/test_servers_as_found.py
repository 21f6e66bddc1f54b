"""Tracking servers as they answer in the wild: each is reached, or is one line before anything runs."""

from __future__ import annotations

import datetime
import json
import ssl
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.results.store import ReportError, connect, require_answer
from orchestrator.tracking.experiment import existing
from search_spaces import SpaceError

DELETED = {"experiment_id": "1", "name": "digits", "lifecycle_stage": "deleted", "artifact_location": "x"}
NONE = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
UNAVAILABLE = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}


@contextmanager
def serving(answers, prefix="", certificate=None):
    """A server whose paths below `prefix` answer with the first of `answers` that fits: (end, status, body).

    With a `certificate`, a file that has its key as well, it speaks TLS.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            asked.append(path)
            status, body = 404, "not here"
            if path.startswith(f"{prefix}/"):
                status, body = next(((code, body) for end, code, body in answers if path.endswith(end)), (404, ""))
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if certificate else ''}://localhost:{server.server_port}{prefix}", asked
        server.shutdown()


REACHED = {
    "as MLflow serves": ("", [("/health", 200, "OK")]),
    "behind a path": ("/tools/mlflow", [("/health", 200, "OK")]),
    "without a health page": ("", [("experiments/search", 200, {"experiments": []})]),
    "with a health page behind a login": ("", [("/health", 401, ""), ("experiments/search", 200, {})]),
}


@pytest.mark.parametrize(("prefix", "answers"), REACHED.values(), ids=REACHED)
def test_reached(prefix, answers):
    with serving(answers, prefix) as (uri, _):
        require_answer(uri)
        require_answer(f"{uri}/")


REFUSED = {
    "nothing of MLflow": ([], "does not answer (Not Found)"),
    "too many requests": ([("", 429, UNAVAILABLE)], "does not answer (Too Many Requests)"),
    "unavailable": ([("", 503, UNAVAILABLE)], "does not answer (Service Unavailable)"),
    "broken": ([("", 500, "<html>proxy error</html>")], "does not answer (Internal Server Error)"),
    "another website": ([("/health", 404, ""), ("", 200, "<html>hello</html>")], "does not answer (Not Found)"),
}


@pytest.mark.parametrize(("answers", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(answers, said):
    with serving(answers) as (uri, asked):
        with pytest.raises(SpaceError) as refused:
            require_answer(uri)
        assert str(refused.value) == f"tracking server: {uri} {said}"
        with pytest.raises(ReportError, match="does not answer"):
            connect(uri)
        assert len(asked) == 4  # the health page and MLflow's own request, for each of the two


def test_a_deleted_experiment_blocks_its_name():
    answers = [("/health", 200, "OK"), ("experiments/get-by-name", 200, {"experiment": DELETED})]
    refusal = pytest.raises(SpaceError, match="'digits' was deleted in MLflow, which blocks its name")
    with serving(answers) as (uri, _), refusal:
        existing(uri, "digits")


def test_an_experiment_that_is_not_there_is_none():
    with serving([("/health", 200, "OK"), ("experiments/get-by-name", 404, NONE)]) as (uri, _):
        assert existing(uri, "digits") is None


@pytest.fixture
def own_certificate(tmp_path):
    """A certificate of `localhost` that no authority has signed, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    file, pem = tmp_path / "own.pem", serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(pem))
    return file


def test_behind_an_own_authority_a_refused_login_is_called_that(own_certificate, monkeypatch):
    answers = [("", 401, "")]
    with serving(answers, "/tools", own_certificate) as (uri, _):
        with pytest.raises(SpaceError, match="CERTIFICATE_VERIFY_FAILED"):
            require_answer(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own_certificate))
        with pytest.raises(SpaceError, match=f"{uri} does not accept the login; set MLFLOW_TRACKING_USERNAME"):
            require_answer(uri)
        answers[0] = ("", 200, {"experiments": []})
        require_answer(uri)
