"""Parses a page strictly: tags must nest and close, ids must be unique, links must lead somewhere inside."""

from html.parser import HTMLParser

VOID = {"meta", "br", "input", "hr", "img", "link", "source", "area", "base", "col", "embed", "track", "wbr"}


class Page(HTMLParser):
    """`problems` lists what is wrong; the rest is for looking things up."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.problems = []
        self.tags = []  # of all elements, in order
        self.ids = set()
        self.links = []
        self.attributes = []  # (tag, name, value)
        self.sections = {}  # id: text
        self.values = {}  # id of the nearest element that has one: the data-value of every cell in it
        self.text_of = {}  # the same: text
        self._stack = []
        self.text = ""
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag, _ in self._stack]
        self.problems += [f"link to {link} leads nowhere" for link in self.links if link[1:] not in self.ids]

    def handle_starttag(self, tag, attrs):
        self._open(tag, attrs)
        if tag in VOID:
            self._stack.pop()

    def handle_startendtag(self, tag, attrs):
        self._open(tag, attrs)
        self._stack.pop()

    def handle_endtag(self, tag):
        if not self._stack or self._stack[-1][0] != tag:
            self.problems.append(f"line {self.getpos()[0]}: </{tag}> where {self._stack[-1:]} is open")
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self._stack and self._stack[-1][0] in ("script", "style"):
            return
        self.text += data
        for tag, identity in self._stack:
            if identity is not None:
                self.text_of[identity] = self.text_of.get(identity, "") + data
                if tag == "section":
                    self.sections[identity] = self.sections.get(identity, "") + data

    def _open(self, tag, attrs):
        self.tags.append(tag)
        identity = None
        for name, value in attrs:
            self.attributes.append((tag, name, value))
            if name == "id":
                if value in self.ids:
                    self.problems.append(f"line {self.getpos()[0]}: id {value} twice")
                self.ids.add(value)
                identity = value
            if name == "href":
                self.links.append(value)
            if name == "data-value":
                owner = next((one for _, one in reversed(self._stack) if one is not None), None)
                self.values.setdefault(owner, []).append(value)
        if len({name for name, _ in attrs}) != len(attrs):
            self.problems.append(f"line {self.getpos()[0]}: attribute twice in <{tag}>")
        self._stack.append((tag, identity))
