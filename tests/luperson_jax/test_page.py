"""The page through its server library: what it shows, what it refuses, and to whom."""

import dataclasses
import re

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `ui` is not installed")
pytest.importorskip("httpx2", reason="the client for tests is not installed")

from starlette.testclient import TestClient

from data_pipeline.errors import InputError
from luperson_jax.page import app, guard, later, pictures, uploads, views
from luperson_jax.page.gallery import Gallery
from luperson_jax.page.labelling import Labelling
from luperson_jax.serving.camera_names import CameraNames
from luperson_jax.serving.decision import DecisionRule
from tests import page_worlds

HOST = "http://127.0.0.1:8765"
OWN = {"Origin": HOST}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return page_worlds.make(tmp_path_factory.mktemp("page"))


def page_of(index, *, tracklets=False, model=None, **more):
    gallery = Gallery.of(index, tracklets=tracklets)
    start = Labelling(np.arange(len(gallery)) * 3 // len(gallery))
    return app.Page(gallery, model, start=start, title="people", **more)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No page that asks to come back: a busy machine is slow."""
    monkeypatch.setattr(later, "PATIENCE_S", 60)


@pytest.fixture
def client(index):
    page = page_of(index, model=page_worlds.Colors(), rule=DecisionRule.at(0.05))
    return TestClient(page.app(), HOST)


def shown(answer):
    """Numbers of the pictures of a list, in order."""
    assert answer.status_code == 200, answer.text
    return [int(one) for one in re.findall(r'checkbox" name="id" value="(\d+)"', answer.text)]


def send(client, data, name="a.png", **headers):
    files = {"picture": (name, data, "image/png")}
    return client.post("/send", files=files, headers=OWN | headers, follow_redirects=False)


def test_every_page_stands(client):
    for address in ("/", "/search?id=0", "/identities", "/identities/0", "/labels", "/map"):
        answer = client.get(address)
        assert answer.status_code == 200, address
        text = answer.text
        assert text.count("<h1") == 1
        assert 'lang="en"' in text
        assert "<title>" in text
        images = re.findall(r"<img [^>]*>", text)
        assert all(" alt=" in one for one in images)
        # All of it comes from here, and nothing is inline that the policy forbids.
        assert not re.findall(r"(?:src|href|action)=\"(?!/|#)", text)
        assert not re.findall(r"<script(?! src)|<style|style=|\son\w+=", text)


def test_names_are_never_markup(client):
    text = client.get("/").text
    assert "&lt;b&gt;&amp;" in text
    assert "<b>" not in text
    assert "\u202e" not in text


def test_the_nearest_come_first_and_the_threshold_judges(client, index):
    answer = client.get("/search?id=0&top=12")
    features = index.features()
    distance = 1 - features @ features[0]
    order = [one for one in np.argsort(distance, kind="stable").tolist() if one != 0]
    assert shown(answer) == order[:12]
    assert answer.text.count("✓ same") == np.count_nonzero(distance[order[:12]] <= 0.05)
    assert "As calibrated" in answer.text
    loose = client.get("/search?id=0&top=12&threshold=2").text
    assert loose.count("✓ same") == 12
    assert "Yours; calibrated is 0.05" in loose
    assert "No threshold" not in loose
    none = client.get("/search?id=0&threshold=").text
    assert "✓ same" not in none


def test_cameras_with_names_are_called_by_them(index):
    """In filters, lists, sheets, the map and the labels; markup in a name stays text."""
    names = {1: "<i>Hall", 2: "platform 4"}
    named = dataclasses.replace(index, cameras=CameraNames(names))
    client = TestClient(page_of(named).app(), HOST)
    fields = client.get("/search?id=0&elsewhere=1").text
    label = r'type="checkbox" name="camera" value="(\d)"( checked)?> ([^<]+)</label>'
    assert [(number, name) for number, _, name in re.findall(label, fields)] == [
        ("1", "&lt;i&gt;Hall"),
        ("2", "platform 4"),
    ]
    assert fields.count('<span class="soft">camera platform 4') == 12
    assert fields.count("camera &lt;i&gt;Hall") >= 1  # of the query
    assert "cameras &lt;i&gt;Hall, platform 4" in client.get("/identities").text
    sheet = client.get("/identities/0").text
    assert re.findall("<h2>(.*)</h2>", sheet)[:2] == ["Camera &lt;i&gt;Hall", "Camera platform 4"]
    assert "camera platform 4, 2026-11-29" in client.get("/map?by=camera").text
    assert "<td>&lt;i&gt;Hall, platform 4</td>" in client.get("/labels").text
    lines = client.get("/labels.csv").text.splitlines()
    assert [lines[row].split(",")[-4] for row in (1, 24)] == ["<i>Hall", "platform 4"]


def test_a_rule_may_be_unsure_and_know_cameras_and_strangers(index):
    class Strange:
        def warning(self, features):
            return f"1 of {len(features)} pictures look unlike those known"

    rule = DecisionRule((0.0, 2.0), {(1, 2): (2.0, 2.0)}, 0.01, Strange())
    client = TestClient(page_of(index, rule=rule).app(), HOST)
    first = client.get("/search?id=0&top=96").text
    assert first.count("? not sure") == 11  # of its own camera
    assert first.count("✓ same") == 12
    assert "for 1 % false accepts" in first
    assert " Not sure up to 2. " in " ".join(first.split())
    assert "thresholds of their own" in first
    assert "This picture looks unlike those known." in first
    # A form that is sent as it was filled keeps the rule.
    assert client.get("/search?id=0&top=96&threshold=0").text.count("? not sure") == 11
    assert "? not sure" not in client.get("/search?id=0&threshold=0.1").text


def test_without_a_threshold_the_page_says_so(index):
    text = TestClient(page_of(index).app(), HOST).get("/search?id=0").text
    assert "No threshold calibrated" in text
    assert "✓ same" not in text
    assert "✗ different" not in text


def test_filters_leave_what_they_say(client):
    of_camera = shown(client.get("/search?id=0&camera=2&top=96"))
    assert sorted(of_camera) == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
    assert set(shown(client.get("/search?id=0&elsewhere=1&top=96"))) == set(of_camera)
    moments = "since=2026-11-29T03:00&until=2026-11-29T05:00"
    assert sorted(shown(client.get(f"/search?id=0&{moments}"))) == [3, 4, 5]
    nothing = client.get("/search?id=0&camera=1&elsewhere=1")
    assert "Nothing found" in nothing.text
    browsed = client.get(f"/?camera=1&{moments}").text
    assert re.findall(r"/search\?id=(\d+)", browsed) == ["3"]
    assert "of 1 pictures" in browsed
    assert "Nothing is left" in client.get("/?since=2030-01-01").text


def test_pages_of_a_large_index(client, monkeypatch):
    monkeypatch.setattr(views, "PAGE", 10)
    first = client.get("/?camera=1&camera=2").text
    assert "Page 1 of 3" in first
    assert 'href="/?camera=1&amp;camera=2&amp;page=2"' in first
    last = client.get("/?page=3").text
    assert re.findall(r"/search\?id=(\d+)", last) == ["20", "21", "22", "23"]
    assert "More" not in last
    assert client.get("/?page=99").status_code == 200


def test_a_picture_is_sent_and_searched_with(client):
    answer = send(client, page_worlds.png(page_worlds.COLORS[1]), f"{page_worlds.ODD}.png")
    assert answer.status_code == 303
    found = client.get(answer.headers["location"])
    assert set(shown(found)[:8]) == set(range(8, 16))
    assert "&lt;b&gt;" in found.text
    token = answer.headers["location"].partition("=")[2]
    copy = client.get(f"/sent/{token}")
    assert copy.headers["content-type"] == "image/jpeg"
    assert "wider than high" not in found.text
    wide = send(client, page_worlds.png(page_worlds.COLORS[1], (64, 32)))
    assert "wider than high" in client.get(wide.headers["location"]).text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no file was chosen"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a picture in a known format"),
        (b"\xff\xd8\xff" + bytes(100), "damaged JPEG"),
        (page_worlds.png((9, 9, 9))[:60], "damaged file"),
        (page_worlds.png((9, 9, 9), (100, 101)), "10100 in all"),
        (page_worlds.png((9, 9, 9)) + bytes(5000), "a picture may have"),
    ],
)
def test_wrong_files_are_told(client, monkeypatch, data, words):
    monkeypatch.setattr(uploads, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(uploads, "MAX_BYTES", 4000)
    answer = send(client, data)
    assert answer.status_code == 400
    assert words in answer.text.lower() or words in answer.text
    assert 'role="alert"' in answer.text


def test_a_body_without_end_is_cut(client):
    answer = send(client, bytes(app.MAX_BODY))
    assert answer.status_code == 413

    def pieces():  # without a length that could be looked at before
        for _ in range((app.MAX_BODY >> 20) + 1):
            yield bytes(1 << 20)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/send", content=pieces(), headers=OWN | kind).status_code == 413


def test_pictures_that_were_sent_are_forgotten(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_KEPT", 2)
    places = [send(client, page_worlds.png((9, 200, 9))).headers["location"] for _ in range(3)]
    assert [client.get(one).status_code for one in places] == [400, 200, 200]
    assert "not kept any more" in client.get(places[0]).text


def test_without_a_network_the_index_alone_is_searched(index):
    client = TestClient(page_of(index).app(), HOST)
    assert "Started without a network" in client.get("/").text
    assert "was started without a network" in send(client, page_worlds.png((1, 2, 3))).text
    assert shown(client.get("/search?id=5"))


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/search", 400),
        ("/search?id=24", 400),
        ("/search?id=-1", 400),
        ("/search?id=../../etc/passwd", 400),
        ("/search?id=1&camera=x", 400),
        ("/search?id=1&since=yesterday", 400),
        ("/search?id=1&threshold=nan", 400),
        ("/search?id=1&threshold=3", 400),
        ("/search?id=1&top=x", 400),
        ("/search?sent=nobody", 400),
        ("/picture/24", 400),
        ("/picture/..%2f..%2fetc%2fpasswd", 404),
        ("/static/../app.py", 404),
        ("/static/..%2fapp.py", 404),
        ("/identities/99", 404),
        ("/nowhere", 404),
        ("/send", 405),
        ("/change", 405),
    ],
)
def test_wrong_addresses_are_told(client, address, status):
    answer = client.get(address)
    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_pictures_are_made_anew_and_gone_ones_are_drawn(client, index):
    answer = client.get("/picture/5")
    assert answer.content.startswith(b"\xff\xd8\xff")
    assert answer.headers["cache-control"].startswith("private")
    with open(str(index.columns.key[5]), "rb") as file:
        data = file.read()
    pictures.strip.cache_clear()
    with open(str(index.columns.key[5]), "wb"):
        pass
    try:
        gone = client.get("/picture/5")
        assert (gone.status_code, gone.content) == (404, pictures.ABSENT)
    finally:
        with open(str(index.columns.key[5]), "wb") as file:
            file.write(data)


def test_tracklets_are_strips(index):
    client = TestClient(page_of(index, tracklets=True, rule=DecisionRule.at(0.5)).app(), HOST)
    found = client.get("/search?id=0")
    assert shown(found)[0] == 4
    assert sorted(shown(found)) == [4, 8, 12, 16, 20]
    assert "5 nearest tracklets" in found.text
    assert found.text.count("4 frames of the tracklet") == 6  # and the query
    strip = client.get("/strip/4")
    assert strip.headers["content-type"] == "image/jpeg"
    with pictures.Image.open(pictures.io.BytesIO(strip.content)) as image:
        assert image.size == (4 * 48, 96)


def test_identities_are_changed_by_forms_and_saved(client):
    def change(**fields):
        return client.post("/change", data=fields, headers=OWN)

    assert "3 groups of 24 pictures" in client.get("/identities").text
    sheet = client.get("/identities/1").text
    assert "The same person?" in sheet
    assert 'aria-label="Merge identity 0 into identity 1"' in sheet
    merged = change(action="merge", identity=1, to=0)
    assert merged.url.path == "/identities/1"
    assert "16 pictures" in merged.text
    split = change(action="new", identity=1, id=["0", "1"])
    assert split.url.path == "/identities/3"
    assert shown(split) == [0, 1]
    named = change(action="name", identity=3, name="<i>Ada")
    assert "&lt;i&gt;Ada" in named.text
    nobody = change(action="nobody", identity=3, id="0")
    assert nobody.url.path == "/identities/3"
    assert shown(client.get("/identities/nobody")) == [0]
    saved = client.get("/labels.csv")
    assert saved.headers["content-disposition"] == 'attachment; filename="labels.csv"'
    assert saved.text.splitlines()[2].endswith(",3,<i>Ada")
    assert client.get("/labels.json").json()["outliers"]
    labels = client.get("/labels").text
    assert "4 changes by hand" in labels
    assert "Taking out 1 picture" in labels
    undone = change(action="undo")
    assert "3 changes by hand" in undone.text
    assert change(action="new", identity=1).status_code == 400
    assert shown(client.get("/identities/nobody")) == []


def test_labels_are_kept_when_the_page_ends(index, tmp_path, monkeypatch):
    monkeypatch.setattr(app.tempfile, "tempdir", str(tmp_path))
    page = page_of(index)
    client = TestClient(page.app(), HOST)
    assert page.keep() is None
    client.post("/change", data={"action": "merge", "identity": 0, "to": 1}, headers=OWN)
    kept = page.keep()
    assert kept is not None
    assert kept.is_relative_to(tmp_path)
    assert kept.read_text() == client.get("/labels.csv").text


def test_the_map_names_every_picture(client):
    text = client.get("/map?by=camera").text
    assert text.count("<circle") == 24
    assert "camera 2, 2026-11-29 04:00:00, identity 0" in text
    assert len(set(re.findall(r'class="(c\d|gray)"', text))) == 2


def test_other_hosts_and_other_sites_are_refused(client):
    for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.7:8765", "", "[::1]:8765"):
        assert client.get("/", headers={"Host": host}).status_code == 403
        assert client.get("/picture/0", headers={"Host": host}).status_code == 403
    assert client.get("/", headers={"Host": "localhost:9000"}).status_code == 200
    change = {"action": "merge", "identity": "0", "to": "1"}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:8765"},
        OWN | {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert client.post("/change", data=change, headers=headers).status_code == 403
    assert "3 groups" in client.get("/identities").text
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert (
        client.get("/picture/0", headers=cross | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    )
    assert client.get("/", headers=cross | {"Sec-Fetch-Mode": "navigate"}).status_code == 200
    same = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/change", data=change, headers=same).status_code == 200


def test_every_answer_has_the_policy(client):
    for address in ("/", "/picture/0", "/nowhere", "/static/page.js", "/labels.csv"):
        headers = client.get(address).headers
        for name, value in guard.HEADERS.items():
            assert headers[name] == value
        assert "set-cookie" not in headers
    assert client.get("/", headers={"Host": "evil.example"}).headers["X-Frame-Options"] == "DENY"


def test_what_takes_long_is_said_and_comes(index, monkeypatch):
    gate = later.threading.Event()

    def slow(gallery):
        gate.wait(60)
        return Labelling(np.zeros(len(gallery), np.int64))

    monkeypatch.setattr(views, "start_labelling", slow)
    monkeypatch.setattr(later, "PATIENCE_S", 0.01)
    client = TestClient(app.Page(Gallery.of(index)).app(), HOST)
    waiting = client.get("/identities")
    assert waiting.status_code == 202
    assert 'http-equiv="refresh"' in waiting.text
    assert shown(client.get("/search?id=0"))  # a search does not wait
    gate.set()
    monkeypatch.setattr(later, "PATIENCE_S", 60)
    assert "1 groups" in client.get("/identities").text


def test_what_fails_later_is_told():
    def fail():
        raise InputError("no such thing")

    works = later.Later()
    with pytest.raises(InputError, match="no such thing"):
        works.get("a", fail)
    assert works.get("b", lambda: 3) == 3
