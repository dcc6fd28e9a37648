import errno
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fedsim.errors import UserError
from fedsim.trace.reader import read_run
from fedsim.web import server
from fedsim.web.follow import Followed
from tests import runs


@pytest.fixture
def client(trained: Path) -> Iterator[TestClient]:
    with TestClient(server.application(Followed(trained)), base_url="http://127.0.0.1") as asking:
        yield asking


def test_the_page_has_the_run_inside_and_asks_for_nothing_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    text = answer.text.partition('type="application/json">')[2].partition("</script>")[0]
    model = json.loads(text)
    (run,) = model["runs"]
    assert (model["live"], run["state"], run["name"]) == (True, "ended", "small")
    assert [(m["name"], m["rounds"], m["ended"]) for m in run["methods"]] == [("fedavg", 5, True), ("fedbt", 5, True)]
    assert run["table"]["rows"][0][0] == "fedavg"
    for name in ("page.js", "page.css", "echarts.min.js"):
        assert f"static/{name}" in answer.text
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/static/server.py").status_code == 404
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_a_round_adds_up_to_its_trips(client: TestClient, trained: Path) -> None:
    trips = read_run(trained).trips
    for method in ("fedavg", "fedbt"):
        for round_ in range(5):
            own = trips[(trips["method"] == method) & (trips["round"] == round_)]
            found = client.get(f"/data/round/{method}/{round_}").json()
            assert found["sums"]["upload_bytes"] == own["upload_bytes"].sum() > 0
            assert sum(found["trips"]["flops_forward"]) == own["flops_forward"].sum() > 0


def test_the_fleet_counts_every_trip(client: TestClient, trained: Path) -> None:
    found = client.get("/data/fleet/fedbt").json()
    assert sum(found["points"]["trips"]) == (read_run(trained).trips["method"] == "fedbt").sum()


def test_what_is_not_new_is_not_told_again(stopped: Path) -> None:
    with TestClient(server.application(Followed(stopped)), base_url="http://127.0.0.1") as asking:
        first = asking.get("/data/run")
        tag = {"if-none-match": first.headers["etag"]}
        again = asking.get("/data/run", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        runs.resume(stopped)
        later = asking.get("/data/run", headers=tag)
        assert later.status_code == 200
        assert [m["rounds"] for m in first.json()["methods"]] == [2, 0]
        assert [m["rounds"] for m in later.json()["methods"]] == [5, 5]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/data/round/fedavg/9", "fedavg has no round 9 yet"),
        ("/data/round/other/0", "no method 'other' in this run: fedavg, fedbt"),
        ("/data/fleet/other", "no method 'other'"),
    ],
)
def test_what_is_not_there_is_told(client: TestClient, path: str, message: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert message in answer.json()["error"]


def test_other_names_for_this_machine_are_refused_unless_anyone_may_look(trained: Path) -> None:
    for anyone, status in ((False, 400), (True, 200)):
        application = server.application(Followed(trained), anyone=anyone)
        with TestClient(application, base_url="http://elsewhere.example") as asking:
            assert asking.get("/data/run").status_code == status


def test_a_port_that_is_taken_is_told() -> None:
    with server.listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert server.address(taken) == f"http://127.0.0.1:{port}/"
        with pytest.raises(UserError, match=f"--port: is {port}, which another program uses"):
            server.listening("127.0.0.1", port)


def test_an_address_that_this_machine_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--host: is 192\.0\.2\.1, where nothing can listen"):
        server.listening("192.0.2.1", 0)

    def refuse(self: socket.socket, where: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(UserError, match="--port: is 80, where nothing can listen: Permission denied"):
        server.listening("127.0.0.1", 80)
