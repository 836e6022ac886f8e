"""The page as a browser's parser would have it, as far as tests of its structure need: tags, attributes and texts."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str | None = None) -> list["Node"]:
        """Nodes below this one, in the page's order."""
        below = [child for child in self.children if isinstance(child, Node)]
        found = [node for child in below for node in (child, *child.all())]
        return [node for node in found if tag is None or node.tag == tag]

    def with_id(self, name: str) -> "Node":
        (found,) = [node for node in self.all() if node.attributes.get("id") == name]
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs), f"an attribute of {tag} is there twice"
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def parsed(text: str) -> Node:
    """The page's tree; fails where tags are not closed in the order in which they were opened."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == [parser.root], "tags are left open"
    return parser.root
