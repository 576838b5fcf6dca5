"""A participant over HTTP: sees pages as a browser would, fills in their forms, keeps everything that was sent."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Form(HTMLParser):
    """The forms of a page: where they go and what they hold, and every address that the page names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, list[str]]]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag == "form":
            self.forms.append((given["action"], {}))
        if tag in ("input", "select") and "name" in given and self.forms:
            self.forms[-1][1].setdefault(given["name"], []).append(given.get("value", ""))


class Visitor:
    """Goes through the study. `wrong_tones` fails the headphones check; `seen` is every byte that was sent."""

    def __init__(self, address: str, softest: dict[str, int], *, wrong_tones: bool = False) -> None:
        self.address, self.softest, self.wrong = address, softest, wrong_tones
        self.seen: list[str] = []
        self.page, self.url = "", address
        self.media: list[bytes] = []

    def get(self, url: str) -> int:
        return self._do(urllib.request.Request(url))

    def post(self, action: str, values: dict[str, str]) -> int:
        data = urllib.parse.urlencode(values).encode()
        return self._do(urllib.request.Request(urllib.parse.urljoin(self.url, action), data))

    def join(self) -> None:
        assert self.get(self.address) == 200
        assert self.post(Form(self.page).forms[0][0], {"training": "beginner", "consent": "1"}) == 200

    @property
    def code(self) -> str:
        return self.url.rstrip("/").rsplit("/", 1)[1]

    @property
    def kind(self) -> str:
        """rating, comparison, attention, headphones or done."""
        for name in ("rating", "comparison", "attention"):
            if f'class="gated {name}"' in self.page:
                return name
        return "headphones" if "/headphones" in self.page else "done"

    def tokens(self) -> list[str]:
        return [link.rsplit("/", 1)[1] for link in Form(self.page).links if "/media/" in link]

    def step(self, choose: object = None) -> str:
        """Answer the page at hand; `choose(name, values)` picks a value. Returns the kind of page."""
        kind = self.kind
        action, fields = Form(self.page).forms[0]
        picked: dict[str, str] = {}
        for name, values in fields.items():
            if kind == "headphones" and name in self.softest:
                picked[name] = str((self.softest[name] + int(self.wrong)) % 3)
            elif len(values) > 1 or name == "skip":
                picked[name] = choose(name, values) if callable(choose) else values[0]
            else:
                picked[name] = {"heard": "1.0", "seconds": "12.5"}.get(name, values[0])
        picked.pop("skip", None)
        assert self.post(action, picked) == 200
        return kind

    def _do(self, request: urllib.request.Request) -> int:
        try:
            with OPENER.open(request, timeout=10.0) as answer:
                self.page, self.url, status = answer.read().decode(), answer.geturl(), answer.status
                self.seen.append(str(answer.headers))
        except urllib.error.HTTPError as error:
            self.page, status = error.read().decode(), error.code
            self.seen.append(str(error.headers))
        self.seen += [self.page, self.url]
        return int(status)
