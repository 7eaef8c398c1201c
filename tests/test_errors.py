"""Errors: each class is documented, each message says what cannot be done, each has a hint."""

import ast
import re
from collections.abc import Iterator

import pytest

from delivery import errors
from delivery.project.files import ROOT

MODULES = sorted((ROOT / "delivery").rglob("*.py"))
_ALL = [getattr(errors, name) for name in errors.__all__]
KINDS = [kind for kind in _ALL if isinstance(kind, type) and issubclass(kind, errors.DeliveryError)]
NAMES = {kind.__name__ for kind in KINDS} | {"BusyError"}


def test_the_page_lists_each_error_with_its_exit_code() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((str(kind.exit_code), kind.reference) for kind in KINDS)


def test_an_exit_code_has_one_meaning_except_for_1() -> None:
    for kind in KINDS:
        same = [each for each in KINDS if each.exit_code == kind.exit_code]
        assert kind.exit_code == 1 or any(
            all(issubclass(each, of) for each in same) for of in same
        ), same


@pytest.mark.parametrize(
    "kind", [errors.DeclarationError, errors.RegistryError, errors.SignatureError]
)
def test_a_problem_becomes_an_error_of_the_same_class(kind: type[errors.DeliveryError]) -> None:
    error = errors.Problem.from_error(kind("m", hint="h", details="d")).error("do it")
    assert type(error) is kind
    assert (error.message, error.hint, error.details) == ("cannot do it: m", "h", "d")


def test_a_message_has_cannot_only_once() -> None:
    failure = errors.RegistryError("cannot read r/app:1.0: the registry answered 403: no")
    assert errors.Problem.from_error(failure).error("publish 1.0").message == failure.message
    assert failure.reason == "the registry answered 403: no"
    assert errors.RegistryError("the registry: down").reason == "the registry: down"


def calls(module: ast.Module) -> Iterator[ast.Call]:
    """The calls in a module that make an error."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
            yield node


def assigned(name: str, module: ast.Module) -> list[ast.expr]:
    """The values that a module assigns to a name."""
    return [
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Assign) and name in {getattr(t, "id", "") for t in node.targets}
    ]


def messages_of(module: ast.Module) -> Iterator[ast.expr]:
    """The messages of errors in a module, which check_known has last."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            if node.func.id in NAMES:
                yield node.args[0]
            elif node.func.id == "check_known":
                yield node.args[-1]


def begins_with_cannot(message: ast.expr, module: ast.Module) -> bool:
    """Whether a message begins with "cannot "; True if its source does not show that."""
    match message:
        case ast.Constant(value=str(text)):
            return text.startswith("cannot ")
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Attribute(attr="message")), *_]):
            return True  # of another error
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id=name)), *_]):
            values = assigned(name, module)
            return bool(values) and all(begins_with_cannot(value, module) for value in values)
        case ast.JoinedStr(values=[ast.FormattedValue(), *_]):
            return False
        case ast.JoinedStr(values=[first, *_]):
            return begins_with_cannot(first, module)
    return True


def messages(source: str) -> list[tuple[int, bool]]:
    """The line of each error in a module, and whether its message begins with "cannot "."""
    module = ast.parse(source)
    return [(each.lineno, begins_with_cannot(each, module)) for each in messages_of(module)]


def test_a_message_is_checked_where_it_is_made() -> None:
    source = """
RegistryError("cannot x: y")
RegistryError(f"cannot {x}: y")
RegistryError(f"{error.message}; z")
RegistryError(text)
doing = f"cannot {x}"
RegistryError(f"{doing}: y")
RegistryError("x: y")
RegistryError(f"{x}: y")
check_known("a", ["b"], "x: y")
"""
    expected = [True, True, True, True, True, False, False, False]
    assert [is_right for _, is_right in messages(source)] == expected


# `cannot` in registry/http.py completes the messages of these modules.
COMPLETED = {"registry/client.py", "registry/http.py"}


def test_every_message_says_what_cannot_be_done() -> None:
    wrong = [
        f"{file}:{line}"
        for file in MODULES
        if file.relative_to(ROOT / "delivery").as_posix() not in COMPLETED
        for line, is_right in messages(file.read_text(encoding="utf-8"))
        if not is_right
    ]
    assert wrong == []


def test_no_message_has_another_whole_message_inside() -> None:
    twice = re.compile(r'"cannot [^"]*: (cannot |\{\w+\.message\})')
    assert twice.search('f"cannot push: {error.message}"')
    assert twice.search('"cannot push: cannot read it"')
    # It tests for "cannot" first.
    complete = ROOT / "delivery" / "registry" / "http.py"
    files = [
        str(file)
        for file in MODULES
        if file != complete and twice.search(file.read_text(encoding="utf-8"))
    ]
    assert files == []


def test_every_error_has_a_hint() -> None:
    without = [
        f"{file}:{call.lineno}"
        for file in MODULES
        for call in calls(ast.parse(file.read_text(encoding="utf-8")))
        # A program's output explains a CommandError, which has a returncode.
        if not {"hint", "returncode", None} & {keyword.arg for keyword in call.keywords}
    ]
    assert without == []
