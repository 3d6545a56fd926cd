"""Reads a page for tests: elements with their texts, tags balanced."""

from html.parser import HTMLParser

from vlif_plugin.comparison.page import render

VOID = {"meta", "link", "br", "img", "input"}


class Reader(HTMLParser):
    """Elements with their texts; insists that tags are balanced."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.elements = [], []

    def handle_starttag(self, tag, attrs):
        element = {
            "tag": tag,
            "attrs": dict(attrs),
            "text": "",
            "path": [e["tag"] for e in self.open],
        }
        element["in"] = [e["attrs"].get("id") for e in self.open]
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag in [e["tag"] for e in self.open[-1:]], (tag, [e["tag"] for e in self.open])
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attrs):
        return [
            e for e in self.elements
            if e["tag"] == tag and all(e["attrs"].get(k) == v for k, v in attrs.items())
        ]  # fmt: skip

    def within(self, section, tag):
        return [e for e in self.elements if e["tag"] == tag and section in e["in"]]


def read(comparison, folder):
    reader = Reader()
    reader.feed(render(comparison, folder))
    reader.close()
    assert reader.open == []
    return reader
