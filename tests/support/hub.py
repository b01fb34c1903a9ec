"""A hub on loopback: folders served as repositories, as `huggingface_hub` and `datasets` ask.

Answers repository info, trees, paths and files (HEAD and GET, ranges, ETag, commit). Every revision
is the one commit. Faults can be switched on while it runs, and every request is noted.

    with Hub({"llava-hf/llava-1.5-7b-hf": Path("twin")}) as hub:
        subprocess.run([...], env=hub.environment(Path("empty_home")))
"""

import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 100_000  # bytes; from here on a file is listed as the hub lists files of git-lfs
CHUNK = 1 << 16


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read again only where it has changed."""
    about = path.stat()
    return _digest(path, about.st_size, about.st_mtime_ns)


@dataclass
class Fault:
    """What goes wrong with requests.

    Attributes:
        kind: "unauthorized" (401), "gated" (403), "no_revision" (404), "too_many" (429), "broken"
            (500), "hung_up" (the connection ends without an answer), "cut" (it ends in the middle
            of a file) or "wrong_size" (a file that is announced longer than it is).
        where: the fault meets requests whose path has this text.
        times: number of requests that it meets; None for all.
        revision: with "no_revision", the only revision that exists.
    """

    kind: str
    where: str = ""
    times: int | None = None
    revision: str = "main"


REFUSALS = {
    "unauthorized": (401, "", "Invalid credentials in Authorization header"),
    "gated": (403, "GatedRepo", "Access to this model is restricted. Ask for access."),
    "no_revision": (404, "RevisionNotFound", "Invalid rev id"),
    "too_many": (429, "", "We had to rate limit your IP."),
    "broken": (500, "", "Internal error"),
}


@dataclass
class Hub:
    """The server; a context manager.

    Attributes:
        models: folders by the id of their model repository.
        datasets: folders by the id of their data set.
        faults: what goes wrong; may be changed while the server runs.
        requests: one line per request: method, path and status.
    """

    models: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, Path] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> "Hub":
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; whoever asks from now on is refused a connection."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the environment of a process that has this hub and an own cache."""
        known = self.environment_of_a_stranger()
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        return known | own | {"NO_PROXY": "127.0.0.1"} | more

    @staticmethod
    def environment_of_a_stranger() -> dict[str, str]:
        """Return this environment without settings, tokens and proxies for the hub."""
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING")) and not name.lower().endswith("_proxy")
        }

    def repository(self, kind: str, name: str) -> Path | None:
        return (self.models if kind == "models" else self.datasets).get(name)

    def fault(self, path: str, revision: str | None) -> Fault | None:
        """Return the fault that meets a request, and count it."""
        for fault in self.faults:
            known = fault.kind == "no_revision" and revision in (None, fault.revision)
            if fault.where in path and fault.times != 0 and not known:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None


def files_of(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, as the hub writes them."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def commit_of(folder: Path) -> str:
    """Return the commit: 40 hexadecimal digits that change with names and contents."""
    content = "".join(f"{name}:{digest(folder / name)}\n" for name in files_of(folder))
    return hashlib.sha1(content.encode()).hexdigest()


def entry(folder: Path, name: str) -> dict[str, Any]:
    """Return the entry of a file or folder in a tree."""
    path = folder / name
    if path.is_dir():
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}

    size = path.stat().st_size
    about: dict[str, Any] = {"type": "file", "oid": digest(path)[:40], "size": size, "path": name}
    if size >= LARGE:
        about["lfs"] = {"oid": digest(path), "size": size, "pointerSize": 134}
    return about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the requests are noted by the hub."""

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_GET

    # --- Routes ---

    def _route(self) -> None:
        """Read the path, and answer as the hub does."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]

        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        kind = parts.pop(0) if parts[:1] in (["models"], ["datasets"]) else "models"
        name, rest = "/".join(parts[:2]), parts[2:]
        folder = self.hub.repository(kind, name)

        revision = rest[1] if len(rest) > 1 else None
        if fault := self.hub.fault(unquote(address.path), revision):
            if fault.kind == "hung_up":
                self.close_connection = True
                return self._note(0)
            if fault.kind in REFUSALS:
                return self._refuse(*REFUSALS[fault.kind])
            if rest[:1] == ["resolve"] and folder is not None:
                return self._file(folder, "/".join(rest[2:]), fault.kind)

        if folder is None:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if not api and rest[:1] == ["resolve"]:
            return self._file(folder, "/".join(rest[2:]))
        if api:
            return self._about(folder, name, rest, parse_qs(address.query), body)
        return self._refuse(404, "EntryNotFound", "Entry not found")

    def _about(
        self, folder: Path, name: str, rest: list[str], query: dict[str, list[str]], body: bytes
    ) -> None:
        """Answer what is asked about a repository: info, tree, or some paths."""
        what = rest[0] if rest else "revision"
        if what == "revision":
            siblings = [{"rfilename": path} for path in files_of(folder)]
            commit = commit_of(folder)
            about = {"id": name, "sha": commit, "siblings": siblings, "private": False}
            return self._json({**about, "_id": "1", "gated": False, "tags": [], "downloads": 0})

        if what == "tree":
            below = folder / "/".join(rest[2:])
            if not below.is_dir():
                return self._refuse(404, "EntryNotFound", "Entry not found")
            recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            paths = sorted(below.rglob("*") if recursive else below.glob("*"))
            names = [path.relative_to(folder).as_posix() for path in paths]
            return self._json([entry(folder, path) for path in names])

        if what == "paths-info":
            wanted = _asked_paths(body)
            present = [path for path in wanted if (folder / path).exists() and path]
            return self._json([entry(folder, path) for path in present])

        return self._refuse(404, "EntryNotFound", f"Nothing at {what}")

    # --- Answers ---

    def _file(self, folder: Path, name: str, fault: str = "") -> None:
        """Send a file, or the part of it that is asked for."""
        path = folder / name
        if ".." in PurePosixPath(name).parts or not path.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", commit=commit_of(folder))

        size = path.stat().st_size
        start, stop = _range(self.headers.get("Range"), size)
        partial = (start, stop) != (0, size)
        said = stop - start + (1000 if fault == "wrong_size" else 0)

        self._note(206 if partial else 200)
        self.send_response(206 if partial else 200)
        self.send_header("ETag", f'"{digest(path)}"')
        self.send_header("X-Repo-Commit", commit_of(folder))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(said))
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return None

        # A connection that is cut sends a part that grows with every try.
        end = start + max((stop - start) // 2, 1) if fault == "cut" else stop
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                self.wfile.write(part := file.read(min(CHUNK, end - start)))
                start += len(part)
        if fault:
            self.close_connection = True
        return None

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, commit: str = "") -> None:
        """Refuse with the headers from which `huggingface_hub` tells what is wrong."""
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        named = {"X-Error-Code": code, "X-Repo-Commit": commit}
        headers |= {header: value for header, value in named.items() if value}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self._note(status)
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _note(self, status: int) -> None:
        self.hub.requests.append(f"{self.command} {self.path} {status}")


def _asked_paths(body: bytes) -> list[str]:
    """Return the paths of a request, which are a form or JSON."""
    text = body.decode()
    if text.startswith("{"):
        return list(json.loads(text)["paths"])
    return parse_qs(text).get("paths", [])


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Return the first byte that is asked for, and the one behind the last."""
    if not header or not header.startswith("bytes="):
        return 0, size

    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first or 0), min(int(last) + 1, size) if last else size
