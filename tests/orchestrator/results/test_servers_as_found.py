"""Tracking servers as they answer in the wild: each is reached, or is one line before anything runs."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from orchestrator.results.store import ReportError, connect, require_answer
from orchestrator.tracking.experiment import existing
from search_spaces import SpaceError

DELETED = {"experiment_id": "1", "name": "digits", "lifecycle_stage": "deleted", "artifact_location": "x"}
NONE = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
UNAVAILABLE = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}


@contextmanager
def serving(answers, prefix=""):
    """A server whose paths below `prefix` answer with the first of `answers` that fits: (end, status, body)."""
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
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}", asked
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
