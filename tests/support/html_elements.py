"""Reading HTML back."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Collects elements, checks that they are closed in order, and keeps the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def check_standalone(self) -> None:
        """Nothing is loaded from elsewhere, nothing is run, and every element is closed."""
        assert self.open == []
        kinds = {kind for kind, _ in self.found}
        assert kinds.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
        for kind, attributes in self.found:
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href", "srcset", "action"):
                value = attributes.get(name) or "data:image/png;base64,"
                assert value.startswith("data:image/png;base64,"), kind
        style = "".join(text for text in self.texts if "@media print" in text)
        assert "url(" not in style
        assert "@import" not in style
