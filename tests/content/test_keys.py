"""The tree that keys stand for, against a plain model of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from provenafs.content.listing.index import Listed
from provenafs.content.listing.keys import ChildrenOfPage, TreeFromKeys, unfit_reason
from provenafs.s3.types import ListPage, ObjectInfo

PREFIX = "datasets/x/"
_names = st.sampled_from(["a", "a-", "a.b", "a0", "b", "ä", "z", "", ".", "..", "n\0", "l" * 256])
_keys = st.sets(
    st.lists(_names, min_size=1, max_size=4).map(lambda names: PREFIX + "/".join(names)),
    max_size=30,
).map(lambda keys: sorted(keys, key=str.encode))
_sizes = st.integers(1, 4)


@dataclass
class _Model:
    """Names of files and directories, by directory; and the keys that cannot be shown."""

    files: dict[str, set[str]] = field(default_factory=dict)
    directories: dict[str, set[str]] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)


def _model(keys: list[str]) -> _Model:
    model = _Model({PREFIX: set()}, {PREFIX: set()})
    for key in keys:
        *above, name = key[len(PREFIX) :].split("/")
        at = PREFIX
        for directory in above:
            if unfit_reason(directory) is not None:
                model.unfit.add(key)
                break
            model.directories[at].add(directory)
            at += directory + "/"
            model.files.setdefault(at, set())
            model.directories.setdefault(at, set())
        else:
            if name and unfit_reason(name) is not None:
                model.unfit.add(key)
            elif name:
                model.files[at].add(name)
    for at, names in model.files.items():
        model.unfit |= {at + name for name in names & model.directories[at]}
        names -= model.directories[at]
    return model


def _object(key: str) -> ObjectInfo:
    return ObjectInfo(key, len(key), '"e"', 10**9)


def _merge(into: dict[str, Listed], listed: list[Listed]) -> None:
    """As the index does it: a directory replaces a file of the same listing."""
    for item in listed:
        if item.etag is None or item.name not in into:
            into[item.name] = item


def _kinds(listed: dict[str, Listed]) -> tuple[set[str], set[str]]:
    return (
        {item.name for item in listed.values() if item.etag is not None},
        {item.name for item in listed.values() if item.etag is None},
    )


@given(_keys, _sizes)
def test_unfolding_an_undelimited_listing(keys: list[str], size: int) -> None:
    model = _model(keys)
    unfolding = TreeFromKeys(PREFIX, PREFIX, lambda key: False)
    tree: dict[str, dict[str, Listed]] = {PREFIX: {}}
    complete: list[str] = []
    unfit: set[str] = set()
    for start in range(0, len(keys), size):
        found, passed = unfolding.feed([_object(key) for key in keys[start : start + size]])
        for children in found:
            assert children.prefix not in complete
            if children.prefix != PREFIX:
                above, _, name = children.prefix[:-1].rpartition("/")
                assert tree[above + "/"][name].etag is None, "a directory before its parent"
            _merge(tree.setdefault(children.prefix, {}), children.listed)
            unfit |= {each.key for each in children.unfit}
        complete += passed
    complete += unfolding.finish()
    assert {at: _kinds(listed) for at, listed in tree.items()} == {
        at: (model.files[at], model.directories[at]) for at in model.files
    }
    assert sorted(complete) == sorted(tree)
    assert unfit == model.unfit


@given(_keys, _sizes, st.sampled_from(["a/", "a/a/", "b/"]))
def test_a_listing_from_the_middle_completes_only_what_it_saw_whole(
    keys: list[str], size: int, start: str
) -> None:
    model = _model(keys)
    unfolding = TreeFromKeys(PREFIX, PREFIX + start, lambda key: False)
    after = [key for key in keys if key.encode() > (PREFIX + start).encode()]
    tree: dict[str, dict[str, Listed]] = {}
    complete: list[str] = []
    for first in range(0, len(after), size):
        found, passed = unfolding.feed([_object(key) for key in after[first : first + size]])
        for children in found:
            _merge(tree.setdefault(children.prefix, {}), children.listed)
        complete += passed
    for at in complete + unfolding.finish():
        assert at >= PREFIX + start
        assert _kinds(tree.get(at, {})) == (model.files[at], model.directories[at])


@given(_keys, _sizes)
def test_the_pages_of_a_delimited_listing(keys: list[str], size: int) -> None:
    model = _model(keys)
    folder = ChildrenOfPage(PREFIX, lambda key: False)
    listed: dict[str, Listed] = {}
    for page in _delimited(keys, size):
        _merge(listed, folder.feed(page).listed)
    assert _kinds(listed) == (model.files[PREFIX], model.directories[PREFIX])


def _delimited(keys: list[str], size: int) -> list[ListPage]:
    rolled: list[str] = []
    for key in keys:
        name, slash, _ = key[len(PREFIX) :].partition("/")
        item = PREFIX + name + slash
        if not rolled or rolled[-1] != item:
            rolled.append(item)
    chunks = [rolled[start : start + size] for start in range(0, len(rolled), size)]
    return [
        ListPage(
            tuple(_object(key) for key in chunk if not key.endswith("/") or key == PREFIX),
            tuple(key for key in chunk if key.endswith("/") and key != PREFIX),
            None,
        )
        for chunk in chunks
    ]


def test_what_is_hidden_is_neither_shown_nor_reported() -> None:
    hidden = PREFIX + "metadata.json"
    page = ListPage((_object(PREFIX), _object(hidden), _object(PREFIX + "x")), (), None)
    found = ChildrenOfPage(PREFIX, hidden.__eq__).feed(page)
    assert [item.name for item in found.listed] == ["x"]
    assert found.unfit == []
    unfolding = TreeFromKeys(PREFIX, PREFIX, hidden.__eq__)
    [found], _ = unfolding.feed(page.objects)
    assert [item.name for item in found.listed] == ["x"]


def test_why_a_name_is_unfit() -> None:
    for name in ("", ".", "..", "a\0", "ä" * 128):
        assert unfit_reason(name)
    for name in ("a", "...", "ä" * 127, "metadata.json", "\n", "a\\b"):
        assert unfit_reason(name) is None
