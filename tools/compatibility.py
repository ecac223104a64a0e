"""Whether a caller of one OpenAPI document can go on with another: what was taken away, and what is newly asked for.

Knows what this project's documents use: paths, parameters, JSON bodies, objects, lists, enumerations, ``anyOf``.
"""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")


def breaking_changes(before: Document, after: Document) -> list[str]:
    """One line for each change that can break a caller, in the order of the older document."""
    return list(_Comparison(before, after).lines())


class _Comparison:
    def __init__(self, before: Document, after: Document) -> None:
        self._before = before
        self._after = after

    def lines(self) -> Iterator[str]:
        for path, operations in self._before["paths"].items():
            if path not in self._after["paths"]:
                yield f"{path}: the path is gone"
                continue
            for method in METHODS:
                if method in operations:
                    name = f"{method.upper()} {path}"
                    now = self._after["paths"][path].get(method)
                    if now is None:
                        yield f"{name}: the operation is gone"
                    else:
                        yield from self._operation(name, operations[method], now)

    def _operation(self, name: str, before: Document, after: Document) -> Iterator[str]:
        yield from self._parameters(name, before, after)
        yield from self._request(f"{name}: request", before, after)
        if not _asks(before) and _asks(after):
            yield f"{name}: asks for credentials now"
        for status, response in before["responses"].items():
            if status not in after["responses"]:
                yield f"{name}: response {status} is gone"
                continue
            now = after["responses"][status]
            for header in response.get("headers", {}):
                if header not in now.get("headers", {}):
                    yield f"{name}: response {status}: header {header} is gone"
            yield from self._contents(f"{name}: response {status}", response, now, answer=True)

    def _parameters(self, name: str, before: Document, after: Document) -> Iterator[str]:
        old = {(each["in"], each["name"]): each for each in self._resolved(self._before, before.get("parameters", []))}
        new = {(each["in"], each["name"]): each for each in self._resolved(self._after, after.get("parameters", []))}
        for key, parameter in new.items():
            if parameter.get("required") and not old.get(key, {}).get("required"):
                yield f"{name}: parameter {key[1]} is required now"
        for key, parameter in old.items():
            if key not in new:
                yield f"{name}: parameter {key[1]} is gone"
            else:
                where = f"{name}: parameter {key[1]}"
                yield from self._schema(where, parameter["schema"], new[key]["schema"], answer=False, seen=())

    def _request(self, name: str, before: Document, after: Document) -> Iterator[str]:
        if "requestBody" not in before:
            if after.get("requestBody", {}).get("required"):
                yield f"{name}: a body is required now"
        elif "requestBody" not in after:
            yield f"{name}: the body is gone"
        else:
            yield from self._contents(name, before["requestBody"], after["requestBody"], answer=False)

    def _contents(self, name: str, before: Document, after: Document, *, answer: bool) -> Iterator[str]:
        for media_type, content in before.get("content", {}).items():
            if media_type not in after.get("content", {}):
                yield f"{name}: {media_type} is gone"
            else:
                now = after["content"][media_type]
                yield from self._schema(name, content["schema"], now["schema"], answer=answer, seen=())

    def _schema(
        self, name: str, before: Document, after: Document, *, answer: bool, seen: tuple[str, ...]
    ) -> Iterator[str]:
        if before.get("$ref") in seen:
            return
        seen = (*seen, before["$ref"]) if "$ref" in before else seen
        before, after = self._follow(self._before, before), self._follow(self._after, after)
        # An answer must not get wider (the caller would not know what came), a request not narrower.
        wider, narrower = (after, before) if answer else (before, after)
        kept = _types(narrower)
        if kept and (not _types(wider) or not _types(wider) <= kept):
            yield f"{name}: the type was {_words(before)} and is {_words(after)}"
        yield from self._values(name, before, after, answer=answer)
        if not answer:
            yield from _limits(name, before, after)
        yield from self._properties(name, before, after, answer=answer, seen=seen)
        if "items" in before and "items" in after:
            yield from self._schema(f"{name}[]", before["items"], after["items"], answer=answer, seen=seen)
        for old, new in zip(_alternatives(before), _alternatives(after), strict=False):
            yield from self._schema(name, old, new, answer=answer, seen=seen)

    def _values(self, name: str, before: Document, after: Document, *, answer: bool) -> Iterator[str]:
        if "enum" in before:
            allowed = after.get("enum") or before["enum"]
            gone = [value for value in before["enum"] if value not in allowed]
            yield from (f"{name}: the value {value!r} is gone" for value in gone)
            if answer:
                # A closed enumeration is a promise that nothing else comes.
                if "enum" not in after:
                    yield f"{name}: the values are no longer closed"
                yield from (
                    f"{name}: the value {value!r} is new in a closed enumeration"
                    for value in after.get("enum", [])
                    if value not in before["enum"]
                )
        elif "enum" in after and not answer:
            yield f"{name}: only certain values are allowed now"

    def _properties(
        self, name: str, before: Document, after: Document, *, answer: bool, seen: tuple[str, ...]
    ) -> Iterator[str]:
        old, new = before.get("properties", {}), after.get("properties", {})
        for key, schema in old.items():
            if key not in new:
                yield f"{name}: property {key} is gone"
                continue
            yield from self._schema(f"{name}.{key}", schema, new[key], answer=answer, seen=seen)
        required_before, required_after = set(before.get("required", [])), set(after.get("required", []))
        if answer:
            lost = sorted((required_before - required_after) & new.keys())
            yield from (f"{name}: property {key} is no longer always there" for key in lost)
        else:
            added = sorted(required_after - required_before)
            yield from (f"{name}: property {key} is required now" for key in added)

    def _resolved(self, document: Document, nodes: list[Document]) -> list[Document]:
        return [self._follow(document, node) for node in nodes]

    def _follow(self, document: Document, node: Document) -> Document:
        while "$ref" in node:
            target: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node


def _asks(operation: Document) -> bool:
    security = operation.get("security", [])
    return bool(security) and {} not in security


def _alternatives(schema: Document) -> list[Document]:
    return [each for each in schema.get("anyOf", []) if each.get("type") != "null"]


def _types(schema: Document) -> set[str]:
    """Every type that a value may have; empty means any."""
    types = schema.get("type", [])
    found = {types} if isinstance(types, str) else set(types)
    for each in schema.get("anyOf", []):
        # A reference stands for an object in these documents.
        found |= _types(each) or {"object"}
    # Every integer is a number, too.
    return found | ({"integer"} if "number" in found else set())


def _words(schema: Document) -> str:
    return " or ".join(sorted(_types(schema))) or "anything"


def _limits(name: str, before: Document, after: Document) -> Iterator[str]:
    for keyword, narrower in (("minimum", 1), ("maximum", -1), ("minItems", 1), ("maxItems", -1)):
        if keyword in after and (keyword not in before or (after[keyword] - before[keyword]) * narrower > 0):
            yield f"{name}: {keyword} was {before.get(keyword, 'open')} and is {after[keyword]}"
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield f"{name}: the pattern was {before.get('pattern', 'open')} and is {after['pattern']}"
    if after.get("additionalProperties") is False and before.get("additionalProperties") is not False:
        yield f"{name}: other properties are refused now"
