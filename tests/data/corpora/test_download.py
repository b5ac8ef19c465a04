"""Downloads from a server in this process that cuts connections; archives that try to leave their folder."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phonemi.data.corpora import download
from phonemi.data.corpora.download import MARKER, extract, fetch, fetch_and_extract
from phonemi.errors import DataError

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; each answer stops after `answer_bytes`, as a broken connection would."""

    content = CONTENT
    answer_bytes = len(CONTENT)
    honours_range = True
    status = 0
    requests: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpus.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.requests.append(asked)
        content, size = self.server.content, len(self.server.content)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.honours_range else 0
        if self.server.status:
            self.send_error(self.server.status)
            return
        if start and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.answer_bytes])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    # The address is this machine: a proxy of the environment must not be asked for it.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, linkname, 3 if kind == tarfile.REGTYPE else 0
    return info


def test_fetch_checks_and_reports(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(server.url, tmp_path / "new" / "a.zip", md5=MD5.upper(), progress=lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert names(tmp_path) == ["new/a.zip"]


def test_fetch_of_what_is_there_asks_nobody(server: Server, tmp_path: Path) -> None:
    fetch(server.url, tmp_path / "a.zip")
    fetch(server.url, tmp_path / "a.zip", md5=MD5)
    assert server.requests == [None]
    with pytest.raises(DataError, match="remove it and run it again"):
        fetch(server.url, tmp_path / "a.zip", md5="0" * 32)
    assert (tmp_path / "a.zip").exists()


def test_fetch_goes_on_after_each_cut(server: Server, tmp_path: Path) -> None:
    server.answer_bytes = 4000
    assert fetch(server.url, tmp_path / "a.zip", md5=MD5).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=4000-", "bytes=8000-"]


def test_fetch_goes_on_in_a_later_call(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer_bytes = 4000
    monkeypatch.setattr(download.time, "sleep", lambda _: server.__dict__.update(status=404))
    with pytest.raises(DataError, match=r"HTTP Error 404: Not Found \(after 4000 bytes"):
        fetch(server.url, tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip.part"]
    server.__dict__.update(status=0, answer_bytes=len(CONTENT))
    assert fetch(server.url, tmp_path / "a.zip", md5=MD5).read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=4000-"


def test_fetch_starts_again_if_the_server_has_no_ranges(server: Server, tmp_path: Path) -> None:
    server.honours_range = False
    (tmp_path / "a.zip.part").write_bytes(b"12345")
    assert fetch(server.url, tmp_path / "a.zip").read_bytes() == CONTENT


def test_fetch_with_all_bytes_there_already(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "a.zip", md5=MD5).read_bytes() == CONTENT


def test_fetch_with_more_bytes_than_the_server_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "a.zip", md5=MD5).read_bytes() == CONTENT


def test_fetch_gives_up_when_nothing_arrives(server: Server, tmp_path: Path) -> None:
    server.answer_bytes = 0
    with pytest.raises(DataError, match=r"the connection broke after 0 of 10240 bytes \(after 0 bytes"):
        fetch(server.url, tmp_path / "a.zip")
    assert len(server.requests) == 4


def test_fetch_tries_a_busy_server_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status = 503
    monkeypatch.setattr(download.time, "sleep", lambda _: server.__dict__.update(status=0))
    assert fetch(server.url, tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its md5 is [0-9a-f]+, expected 000"):
        fetch(server.url, tmp_path / "a.zip", md5="0" * 32)
    assert names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="cannot download"):
        fetch(server.url, tmp_path / "taken" / "a.zip")


def test_extract_zip_writes_the_marker_last(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"d/": b"", "d/x.txt": b"1", "y.txt": b"2"})
    extract(archive, tmp_path / "out")
    assert names(tmp_path / "out") == [MARKER, "d/x.txt", "y.txt"]
    assert (tmp_path / "out" / "d" / "x.txt").read_bytes() == b"1"
    assert (tmp_path / "out" / MARKER).read_text() == "a.zip\n"


def test_extract_tar_keeps_several_archives_apart(tmp_path: Path) -> None:
    extract(tarred(tmp_path / "a.tar.gz", member("./", tarfile.DIRTYPE), member("./d/x")), tmp_path / "out")
    extract(tarred(tmp_path / "b.tar.gz", member("d/y")), tmp_path / "out")
    assert names(tmp_path / "out") == [MARKER, "d/x", "d/y"]
    assert (tmp_path / "out" / MARKER).read_text() == "a.tar.gz\nb.tar.gz\n"


def test_extract_does_nothing_a_second_time(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x": b"1"})
    extract(archive, tmp_path)
    (tmp_path / "x").unlink()
    extract(archive, tmp_path)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["/tmp/evil", "../evil", "d/../../evil", "..\\evil", "C:evil", "C:/evil", "d/.."])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "in" / "archive"
    path.parent.mkdir()
    archive = zipped(path, {name: b"1"}) if kind == "zip" else tarred(path, member(name))
    with pytest.raises(DataError, match="leads out of the folder"):
        extract(archive, tmp_path / "out")
    assert names(tmp_path) == ["in/archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a.tar.gz", member("good"), member("bad", kind, "good"), member("bad/after"))
    with pytest.raises(DataError, match="'bad' is a link or a device"):
        extract(archive, tmp_path / "out")
    assert names(tmp_path / "out") == ["good"]


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("bad")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="'bad' is a link or a device"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_a_link_that_was_there_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of the folder"):
        extract(zipped(tmp_path / "a.zip", {"d/x": b"1"}), tmp_path / "out")
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_damaged_archives_leave_no_marker(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    archive = zipped(path, {"x": CONTENT}) if kind == "zip" else tarred(path, *(member(str(i)) for i in range(900)))
    data = bytearray(archive.read_bytes())
    if kind == "zip":
        data[1000] ^= 1
    archive.write_bytes(data if kind == "zip" else data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a is damaged"):
        extract(archive, tmp_path / "out")
    assert MARKER not in names(tmp_path / "out")


def test_what_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="neither a zip nor a tar archive"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(DataError, match=r"cannot extract .*No such file"):
        extract(tmp_path / "absent.zip", tmp_path / "out")


def test_fetch_and_extract_removes_the_archive_and_does_it_once(server: Server, tmp_path: Path) -> None:
    server.content = zipped(tmp_path / "source.zip", {"x": b"1"}).read_bytes()
    for _ in range(2):
        fetch_and_extract(f"{server.url}?download=1", tmp_path / "out")
    assert names(tmp_path / "out") == [MARKER, "x"]
    assert len(server.requests) == 1
