"""The page as a program: addresses, and what each of them does.

Pictures are named by their numbers in the index, never by paths. Nothing is written to disk: what
people change is kept in memory, and leaves as a file that the browser saves.
"""

import pathlib
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.terminal import visible_name
from luperson_jax.measure.figures import distance_words
from luperson_jax.page import edits, label_files, pictures, uploads, views
from luperson_jax.page.gallery import Gallery
from luperson_jax.page.guard import Guard
from luperson_jax.page.labelling import NOBODY, History, Labelling
from luperson_jax.page.later import Later, StillWorking
from luperson_jax.page.uploads import Uploads
from luperson_jax.page.views import Filters
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.serving.reid_model import ReidModel
from luperson_jax.serving.user_pictures import Picture

HERE = pathlib.Path(__file__).parent
MAX_BODY = uploads.MAX_BYTES + (1 << 20)
NETWORK, GROUPS, PLANE = "network", "groups", "plane"
"""What is worked out later."""
NUM_GROUPS = 24
"""Identities on a page of them."""


class Page:
    """The state of the page and its answers.

    Args:
        gallery: what is shown.
        model: embeds pictures that are sent; None where only the index is searched with.
        rule: when two pictures show one person; None where nobody knows.
        start: who is who at first; None = groups that are found.
        title: of the page.
    """

    def __init__(
        self,
        gallery: Gallery,
        model: ReidModel | None = None,
        *,
        rule: DecisionRule | None = None,
        start: Labelling | None = None,
        title: str = "",
    ) -> None:
        self._gallery, self._rule, self._title = gallery, rule, title
        self._uploads, self._later = Uploads(model), Later()
        self._start = start
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda one: one if isinstance(one, markupsafe.Markup) else visible_name(one),
        )
        self._templates.filters["distance"] = distance_words
        self._later.start(NETWORK, self._uploads.warm)
        self._later.start(GROUPS, self._first)

    def app(self) -> Starlette:
        """The ASGI application."""
        get: dict[str, Callable[[Request], Response]] = {
            "/": self.start,
            "/search": self.search,
            "/picture/{number:int}": self.picture,
            "/strip/{number:int}": self.strip,
            "/sent/{token}": self.sent,
            "/identities": self.identities,
            "/identities/nobody": self.sheet,
            "/identities/{number:int}": self.sheet,
            "/map": self.plane,
            "/labels": self.labels,
            "/labels.csv": self.export,
            "/labels.json": self.export,
        }
        routes = [Route(path, one, methods=["GET"]) for path, one in get.items()]
        return Starlette(
            routes=[
                *routes,
                Route("/send", self.send, methods=["POST"]),
                Route("/change", self.change, methods=["POST"]),
                Mount("/static", StaticFiles(directory=HERE / "static")),
            ],
            middleware=[Middleware(Guard)],
            exception_handlers={
                InputError: self.mistake,
                HTTPException: self.failure,
                StillWorking: self.working,
            },
            max_body_size=MAX_BODY,
        )

    # Answers

    def start(self, request: Request) -> Response:
        """Where a picture is dropped or picked."""
        filters, page = _filters(request), _page(request)
        places = filters.places(self._gallery)
        shown = places[page * views.PAGE : (page + 1) * views.PAGE]
        labelling = self._ready()
        cards = [views.card(self._gallery, int(one), labelling) for one in shown]
        pages = _pages("/", filters.pairs(), page, len(places), views.PAGE)
        values = {"cards": cards, "filters": filters, "pages": pages, "total": len(places)}
        return self._page("start.html", "search", **values)

    def search(self, request: Request) -> Response:
        """The nearest items of a query."""
        params = request.query_params
        filters, top = _filters(request), _top(params.get("top", ""))
        rule = _rule(params.get("threshold"), self._rule)
        labelling, sent, query = self._ready(), None, None
        if token := params.get("sent"):
            sent = self._uploads.get(token)
            feature, own, shown = sent.feature, ("sent", token), [sent.canvas]
        else:
            number = views.whole(params.get("id", ""), "id")
            place = self._gallery.place(number)
            query = views.card(self._gallery, place, labelling)
            feature, own = self._gallery.feature(place), ("id", str(number))
            keys = self._gallery.keys(place)
            shown = keys if len(keys) == 1 and listing.is_file(keys[0]) else []
        elsewhere = params.get("elsewhere") == "1"
        item = query.item if query else None
        found = views.nearest(self._gallery, feature, filters, top, item=item, elsewhere=elsewhere)
        judged = views.verdicts(self._gallery, rule, found, item.camera if item else None)
        cards = [
            views.card(self._gallery, place, labelling, distance, verdict)
            for (place, distance), verdict in zip(found, judged, strict=True)
        ]
        scale = max([1e-6, rule.band[1] if rule else 0.0, *(distance for _, distance in found)])
        values = {"cards": cards, "filters": filters, "query": query, "sent": sent, "own": own}
        values |= {"scale": 1.05 * scale, "rule": rule, "is_calibrated": rule is self._rule}
        values |= {"top": top, "tops": views.TOPS, "elsewhere": elsewhere}
        values |= {"strange": _strange(rule, feature, shown)}
        return self._page("search.html", "search", **values)

    def identities(self, request: Request) -> Response:
        """All identities, the largest first."""
        labelling, page = self._labelling(), _page(request)
        numbers = labelling.numbers()
        chosen = numbers[page * NUM_GROUPS : (page + 1) * NUM_GROUPS]
        groups = [views.group(self._gallery, labelling, one) for one in chosen]
        pages = _pages("/identities", [], page, len(numbers), NUM_GROUPS)
        counts = views.summary(self._gallery, labelling)
        return self._page("identities.html", "identities", groups=groups, pages=pages, **counts)

    def sheet(self, request: Request) -> Response:
        """Everything of one identity, or of nobody."""
        labelling, page = self._labelling(), _page(request)
        number = request.path_params.get("number", NOBODY)
        size = len(labelling.members(number))
        if number != NOBODY and not size:
            raise HTTPException(404, f"there is no identity {number}; it may have been merged")
        values = {
            "group": views.group(self._gallery, labelling, number),
            "sections": views.sheet(self._gallery, labelling, number, page),
            "near": views.near_groups(self._gallery, labelling, number, self._rule),
            "others": [one for one in labelling.numbers()[:500] if one != number],
            "titles": labelling.title,
            "name": labelling.names.get(number, ""),
            "pages": _pages(request.url.path, [], page, size, views.PAGE),
        }
        return self._page("sheet.html", "identities", **values)

    def plane(self, request: Request) -> Response:
        """The map."""
        labelling = self._labelling()
        plane = self._later.get(PLANE, lambda: views.on_plane(self._gallery))
        by = "camera" if request.query_params.get("by") == "camera" else "identity"
        points = views.points(self._gallery, labelling, plane, by)
        values = {"points": points, "by": by, "size": views.MAP, "num": len(self._gallery)}
        return self._page("map.html", "map", **values)

    def labels(self, request: Request) -> Response:
        """What can be taken along."""
        counts = views.summary(self._gallery, self._labelling())
        return self._page("labels.html", "labels", **counts)

    def export(self, request: Request) -> Response:
        """The labels as a file."""
        is_csv = request.url.path.endswith(".csv")
        write = label_files.as_csv if is_csv else label_files.as_json
        text = write(self._gallery, self._labelling())
        name = f"labels.{'csv' if is_csv else 'json'}"
        return Response(
            text.encode("utf-8", "surrogateescape"),
            media_type="text/csv" if is_csv else "application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def picture(self, request: Request) -> Response:
        """A small copy of an item's first frame."""
        keys = self._gallery.keys(self._gallery.place(request.path_params["number"]))
        return _image(keys[:1], pictures.HEIGHT)

    def strip(self, request: Request) -> Response:
        """Frames of a tracklet side by side."""
        keys = self._gallery.keys(self._gallery.place(request.path_params["number"]))
        return _image(pictures.spread(keys, pictures.MAX_FRAMES), pictures.STRIP_HEIGHT)

    def sent(self, request: Request) -> Response:
        """A small copy of a picture that was sent."""
        return Response(self._uploads.get(request.path_params["token"]).jpeg, media_type=JPEG)

    async def send(self, request: Request) -> Response:
        """Takes a picture and shows what is near it."""
        async with request.form(max_files=1, max_fields=1) as form:
            given = form.get("picture")
            if not isinstance(given, UploadFile):
                raise InputError("no file was sent; choose a picture of a person")
            data = await given.read()
        token = await run_in_threadpool(self._uploads.add, data, given.filename or "a picture")
        return RedirectResponse(f"/search?sent={token}", 303)

    async def change(self, request: Request) -> Response:
        """Merges, splits, names or takes back."""
        async with request.form(max_files=0, max_fields=1000) as form:
            given = [(name, str(value)) for name, value in form.multi_items()]
        self._labelling()
        where = edits.change(self._gallery, self._history, given)
        return RedirectResponse(where, 303)

    # Failures

    def mistake(self, request: Request, error: Exception) -> Response:
        """Something that the user can mend."""
        return self._page("message.html", "", 400, heading="That did not work", words=str(error))

    def failure(self, request: Request, error: Exception) -> Response:
        """What is not there, or not allowed."""
        assert isinstance(error, HTTPException)
        heading = "Not here" if error.status_code == 404 else "That did not work"
        return self._page(
            "message.html", "", error.status_code, heading=heading, words=error.detail
        )

    def working(self, request: Request, error: Exception) -> Response:
        """The page that comes back by itself."""
        words = {
            GROUPS: "Similar pictures are being grouped. Large indexes take a few minutes.",
            PLANE: "The map is being drawn. That takes up to a minute.",
        }
        return self._page("working.html", "", 202, words=words[str(error)])

    # State

    @property
    def what(self) -> str:
        """What is shown: pictures or tracklets."""
        return "tracklets" if self._gallery.has_tracklets else "pictures"

    def keep(self) -> pathlib.Path | None:
        """Writes labels that were changed by hand into a temporary folder; None where none was."""
        history = self._made_history()
        if history is None or not history.num_changes:
            return None
        path = pathlib.Path(tempfile.mkdtemp(prefix="luperson-")) / "labels.csv"
        text = label_files.as_csv(self._gallery, history.now)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    @property
    def _history(self) -> History:
        return self._later.get(GROUPS, self._first)

    def _first(self) -> History:
        return History(self._start or views.start_labelling(self._gallery))

    def _made_history(self) -> History | None:
        """The same where it is there: None while groups are being found, and where that failed."""
        begun = self._later.start(GROUPS, self._first)
        return begun.result() if begun.done() and not begun.exception() else None

    def _labelling(self) -> Labelling:
        """Who is who.

        Raises:
            StillWorking: the groups are being found.
        """
        return self._history.now

    def _ready(self) -> Labelling | None:
        """The same, None while the groups are being found."""
        begun = self._later.start(GROUPS, self._first)
        return begun.result().now if begun.done() else None

    def _page(self, template: str, here: str, status: int = 200, **values: Any) -> Response:
        history = self._made_history()
        common: Mapping[str, Any] = {
            "title": self._title,
            "here": here,
            "gallery": self._gallery,
            "calibrated": self._rule,
            "shown": _shown,
            "uploads": self._uploads.welcome,
            "max_bytes": uploads.MAX_BYTES,
            "changes": history.num_changes if history else 0,
            "last": history.last if history else "",
            "what": self.what,
        }
        text = self._templates.get_template(template).render({**common, **values})
        return HTMLResponse(text, status)


JPEG = "image/jpeg"


def _image(keys: Sequence[str], height: int) -> Response:
    kept = {"Cache-Control": "private, max-age=3600"}
    try:
        return Response(pictures.strip(tuple(keys), height), media_type=JPEG, headers=kept)
    except InputError:  # an index outlives its pictures
        return Response(pictures.ABSENT, 404, media_type="image/svg+xml")


def _filters(request: Request) -> Filters:
    return Filters.of(request.query_params.multi_items())


def _page(request: Request) -> int:
    """Number of the page from 0; addresses count from 1."""
    return max(views.whole(request.query_params.get("page", "1"), "page"), 1) - 1


def _top(given: str) -> int:
    number = views.whole(given, "top") if given else views.TOPS[1]
    return min(max(number, 1), views.TOPS[-1])


def _shown(distance: float) -> str:
    """A threshold as a form has it."""
    return f"{distance:.6g}"


def _rule(given: str | None, known: DecisionRule | None) -> DecisionRule | None:
    """The rule of a form: that of the model, another threshold, or, left empty, none."""
    if given is None or (known is not None and given == _shown(known.band[0])):
        return known
    if not given.strip():
        return None
    try:
        value = float(given)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 2:
        raise InputError(f"threshold is {given[:40]!r}; expected a cosine distance, 0 to 2")
    return DecisionRule.at(value)


def _strange(rule: DecisionRule | None, feature: np.ndarray, shown: Sequence[Picture]) -> str:
    """What to tell of a picture unlike those of the calibration; empty where there is nothing."""
    return "" if rule is None else "; ".join(rule.warnings(feature[None], shown))


def _pages(
    path: str, pairs: Sequence[tuple[str, str]], page: int, total: int, size: int
) -> dict[str, Any]:
    """Where one is among the pages, and addresses of those before and after."""
    last = max((total - 1) // size, 0)

    def address(number: int) -> str:
        return f"{path}?{urllib.parse.urlencode([*pairs, ('page', number + 1)])}"

    return {
        "number": page + 1,
        "last": last + 1,
        "before": address(page - 1) if 0 < page <= last else "",
        "after": address(page + 1) if page < last else "",
    }
