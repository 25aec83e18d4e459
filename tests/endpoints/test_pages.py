"""The browser page's files: where they are served, as what, and under which rules."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from server_process import ServerProcess

STATIC = Path(__file__).parent.parent.parent / "static"
PATHS = ["/", "/ws/v1/tts/test", "/docs"]
PAGES = ["index.html", "docs.html"]
MODULES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js"))


def policy(response: httpx.Response) -> dict[str, list[str]]:
    """A Content-Security-Policy by directive."""
    parts = (part.split() for part in response.headers["content-security-policy"].split(";"))
    return {directive: allowed for directive, *allowed in parts}


def raw_status(address: str, path: str) -> int:
    """The status of a request whose path no client has tidied up."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("path", PATHS)
def test_the_page_is_served_where_newcomers_look(sine_server: ServerProcess, path: str) -> None:
    page = sine_server.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>CosyStream" in page.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prefix", ["", "/speech"])
def test_what_the_page_names_is_found_from_its_base(
    sine_server: ServerProcess, path: str, prefix: str
) -> None:
    html = sine_server.get(path).text
    (base,) = re.findall(r'<base href="([^"]+)">', html)
    names = re.findall(r'(?:src|href)="(static/[^"]+)"', html)
    assert len(names) >= 2
    for name in names:
        # As a browser does behind a proxy that strips the prefix.
        address = urljoin(urljoin(f"http://proxy{prefix}{path}", base), name)
        assert address.startswith(f"http://proxy{prefix}/static/")
        assert sine_server.get(address.removeprefix(f"http://proxy{prefix}")).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/static/js/main.js", "/static/style.css"])
def test_nothing_may_be_loaded_from_elsewhere(sine_server: ServerProcess, path: str) -> None:
    response = sine_server.get(path)
    allowed = policy(response)
    assert allowed["default-src"] == ["'self'"]
    assert allowed["connect-src"] == ["'self'", "ws:", "wss:"]
    sources = {source for values in allowed.values() for source in values}
    assert not sources & {"*", "http:", "https:", "'unsafe-inline'", "'unsafe-eval'"}
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_keeps_its_own_rules(name: str) -> None:
    html = (STATIC / name).read_text(encoding="utf-8")
    assert not re.findall(r"<script(?![^>]*\bsrc=)", html)
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=", html)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!github\.com/cosystream)', html)
    assert not re.findall(r'(?:src|href)="/', html), "an absolute path breaks under a prefix"


def test_modules_have_a_type_that_browsers_run(sine_server: ServerProcess) -> None:
    with httpx.Client(base_url=f"http://{sine_server.address}/static/") as client:
        types = {name: client.get(name).headers["content-type"] for name in MODULES}
    assert "js/main.js" in types
    assert set(types.values()) == {"text/javascript; charset=utf-8"}


def test_modules_import_only_files_that_are_there() -> None:
    for name in MODULES:
        code = (STATIC / name).read_text(encoding="utf-8")
        for imported in re.findall(
            r'^(?:import|export|\}).*\bfrom "([^"]+)";$', code, re.MULTILINE
        ):
            assert imported.startswith(("./", "../")), (name, imported)
            assert (STATIC / name).parent.joinpath(imported).resolve().is_file(), (name, imported)


def test_an_unchanged_file_is_not_sent_again(sine_server: ServerProcess) -> None:
    address = f"http://{sine_server.address}/static/js/main.js"
    tag = httpx.get(address).headers["etag"]
    again = httpx.get(address, headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pyproject.toml",
        "/static/%2e%2e/pyproject.toml",
        "/static/..%2fpyproject.toml",
        "/static/js/../../server/settings.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/js",
        "/static/",
        "/static/nothing.js",
        "/pyproject.toml",
    ],
)
def test_nothing_beside_the_pages_files_is_served(sine_server: ServerProcess, path: str) -> None:
    assert raw_status(sine_server.address, path) == 404


def test_files_are_only_read(sine_server: ServerProcess) -> None:
    answer = httpx.post(f"http://{sine_server.address}/static/js/main.js", content=b"x")
    assert answer.status_code == 405
