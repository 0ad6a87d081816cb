"""`sallyport policy`: what policies say and whether they hold, without an operation being sent; and their versions at the control plane."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from edge_agent.settings import ResourceSettings, SettingsError
from edge_agent.settings import load as settings_of_edge
from gateway_kernel.errors import PolicyError
from gateway_kernel.judge import Judgement, judge
from gateway_kernel.model import SECOND
from gateway_kernel.policy import Policy, load, selftest
from gateway_kernel.policy.cases import Case, CaseAgent, CaseResource, Expectation, session_of
from gateway_kernel.policy.cel import Answer
from gateway_kernel.policy.evaluate import RuleAnswer
from sallyport.client import connect
from sallyport.difference import Difference, difference
from sallyport.output import BAD_USAGE, REFUSED, JsonFlag, emit, errors, fail, fields, visible
from sallyport.routed import route_of

NAME = "policy"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

ACTIVE = "active"
"""The name of the policy version in force."""

Files = Annotated[list[Path], typer.Argument(help="Policy documents.", show_default=False)]


@app.command()
def check(files: Files, as_json: JsonFlag = False) -> None:
    """Load policies and say everything that is wrong with them. Warnings do not fail the check."""
    results = [_checked(path) for path in files]
    emit(results, as_json=as_json, text=(line for result in results for line in _check_lines(result)))
    if any(result["problems"] for result in results):
        raise typer.Exit(REFUSED)


@app.command("test")
def run_tests(files: Files, as_json: JsonFlag = False) -> None:
    """Run the tests that stand in policies."""
    results: list[dict[str, Any]] = []
    for path in files:
        result = _checked(path)
        if not result["problems"]:
            result["tests"] = [_case(case) for case in selftest.run(load(_text(path), str(path)))]
        results.append(result)
    emit(results, as_json=as_json, text=(line for result in results for line in _test_lines(result)))
    if any(result["problems"] or not all(case["passed"] for case in result["tests"]) for result in results):
        raise typer.Exit(REFUSED)


@app.command()
def explain(
    operation: Annotated[str, typer.Argument(help="The operation's text; - reads it from standard input.")],
    file: Annotated[
        str, typer.Option("--policy", "-p", help="A policy document, or the number of a pushed version.")
    ] = ACTIVE,
    agent: Annotated[str, typer.Option(help="Who asks.")] = "agent",
    group: Annotated[list[str] | None, typer.Option(help="A group the agent is in; may be repeated.")] = None,
    resource: Annotated[str, typer.Option(help="Name of the resource.")] = "resource",
    protocol: Annotated[str, typer.Option(help="Its protocol.")] = "postgres",
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the resource, name=value; may be repeated.")
    ] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="A table there is, name=column,column; may be repeated.")
    ] = None,
    parameter: Annotated[list[str] | None, typer.Option(help="A bound value, in order; may be repeated.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="An edge.yaml: the routes of the resource hold.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a policy decides about an operation, which rules matched, and why."""
    policy = _loaded(*_named(file))
    guarded = None if config is None else _configured(config, resource)
    case = Case(
        name="explain",
        agent=CaseAgent(agent, tuple(group or ())),
        resource=CaseResource(protocol, resource, dict(_pair(text, "--label") for text in label or ())),
        operation=sys.stdin.read() if operation == "-" else operation,
        expect=Expectation("deny"),
        parameters=tuple(parameter or ()),
        tables={name: tuple(columns.split(",")) for name, columns in (_pair(text, "--table") for text in tables or ())},
    )
    try:
        read = selftest.read_operation(case)
        if guarded is not None and (route := route_of(read, guarded)):
            read = selftest.read_operation(msgspec.structs.replace(case, context=route))
    except KeyError as error:
        raise fail(str(error.args[0]), BAD_USAGE) from None
    session, now = session_of(case), round(datetime.now(UTC).timestamp()) * SECOND
    judgement = judge(read, session, policy, now)
    answers = policy.explain(judgement.operation, session, now)
    emit(_explanation(judgement, answers), as_json=as_json, text=_explained(judgement, answers))


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="A policy document.")],
    comment: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    draft: Annotated[bool, typer.Option("--draft", help="Store it without making it the active one.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a policy the active version. One that does not load, or whose own tests fail, is refused; the old one stays."""
    try:
        text = _text(file).decode()
    except UnicodeDecodeError:
        raise fail(f"{file}: this is not UTF-8 text") from None
    body = {"text": text, "comment": comment, "draft": draft, "name": file.name}
    version = connect().post("/v1/policies", body)
    standing = "active" if version["active"] else "a draft"
    emit(
        version, as_json=as_json, text=[f"version {version['version']} is {standing}, digest {version['digest'][:12]}"]
    )


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A policy document, the number of a pushed version, or `active`.")],
    new: Annotated[str, typer.Argument(help="The same, to compare it with.")],
    as_json: JsonFlag = False,
) -> None:
    """Say which rules, groups and tests differ between two policies."""
    (before, before_name), (after, after_name) = _named(old), _named(new)
    for text, name in ((before, before_name), (after, after_name)):
        _loaded(text, name)
    found = difference(before, after, (before_name, after_name))
    emit(msgspec.to_builtins(found), as_json=as_json, text=_difference_lines(found))


def _configured(config: Path, resource: str) -> ResourceSettings:
    """The resource of that name in an edge.yaml."""
    from edge_agent.protocols.registry import PROTOCOLS  # the rooms take long to import, and only this needs them

    try:
        settings = settings_of_edge(config, tuple(kind().name for kind in PROTOCOLS))
    except SettingsError as error:
        raise fail(str(error), BAD_USAGE) from None
    for one in settings.resources:
        if one.name == resource:
            return one
    names = ", ".join(one.name for one in settings.resources)
    raise fail(f"--resource {resource!r} is not in {config}; there are: {names}", BAD_USAGE)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail(f"{path}: {error.strerror}", BAD_USAGE) from None


def _named(policy: str) -> tuple[str | bytes, str]:
    """The text of a policy and what to call it: a file, the number of a version, or the active one."""
    if Path(policy).is_file() or not (policy == ACTIVE or policy.isdecimal()):
        return _text(Path(policy)), policy
    version = connect().get(f"/v1/policies/{policy}")
    return version["text"], f"version {version['version']}"


def _loaded(text: str | bytes, name: str) -> Policy:
    try:
        return load(text, name)
    except PolicyError as error:
        for problem in error.problems:
            errors.print(Text(visible(problem), style="red"))
        raise typer.Exit(REFUSED) from None


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise fail(f"{option} {text!r} has no `=`; write name=value", BAD_USAGE)
    return name, value


def _checked(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"file": str(path), "problems": [], "warnings": [], "tests": []}
    try:
        policy = load(_text(path), str(path))
    except PolicyError as error:
        return result | {"problems": list(error.problems)}
    return result | {"warnings": list(policy.warnings), "rules": len(policy.rules), "digest": policy.digest}


def _case(result: selftest.CaseResult) -> dict[str, Any]:
    return {"name": result.name, "passed": result.passed, "differences": list(result.differences)}


def _check_lines(result: dict[str, Any]) -> Iterator[str]:
    yield from result["problems"]
    yield from (f"{warning} (warning)" for warning in result["warnings"])
    if not result["problems"]:
        yield f"{result['file']}: {result['rules']} rules, digest {result['digest'][:12]}"


def _test_lines(result: dict[str, Any]) -> Iterator[str]:
    yield from result["problems"]
    for case in result["tests"]:
        yield f"{'passed' if case['passed'] else 'FAILED'}  {case['name']}"
        yield from (f"        {difference}" for difference in case["differences"])
    passed = sum(case["passed"] for case in result["tests"])
    if not result["problems"]:
        yield f"{result['file']}: {passed} of {len(result['tests'])} tests passed"


def _explanation(judgement: Judgement, answers: tuple[RuleAnswer, ...]) -> dict[str, Any]:
    verdict, facts = judgement.verdict, judgement.operation.facts
    return {
        "verdict": verdict.decision.value,
        "rules": list(verdict.rules),
        "reason": verdict.reason,
        "operation": judgement.operation.text,
        "rewritten_from": judgement.rewritten_from,
        "effects": [
            {"kind": effect.kind.value, "object": effect.object, "via": effect.via} for effect in facts.effects
        ],
        "masks": list(selftest.masks_of(judgement)),
        "answers": [
            {
                "rule": answer.rule,
                "action": answer.action,
                "answer": answer.answer.value,
                "when": answer.when,
                "line": answer.line,
                "column": answer.column,
                "detail": answer.detail,
            }
            for answer in answers
        ],
    }


def _explained(judgement: Judgement, answers: tuple[RuleAnswer, ...]) -> Iterator[Any]:
    verdict, operation = judgement.verdict, judgement.operation
    said: dict[str, Any] = {"verdict": verdict.decision.value, "by": ", ".join(verdict.rules)}
    optional = {
        "reason": verdict.reason,
        "operation": operation.text if judgement.rewritten_from else "",
        "instead of": judgement.rewritten_from,
        "effects": "; ".join(
            f"{effect.kind.value} {effect.object}{f' (via {effect.via})' if effect.via else ''}".rstrip()
            for effect in operation.facts.effects
        ),
        "columns": ", ".join(selftest.masks_of(judgement)),
        "approvers": ", ".join(verdict.review.approvers) if verdict.review else "",
    }
    yield fields(said | {name: value for name, value in optional.items() if value})
    yield ""
    for answer in answers:
        yield f"{answer.answer.value:<14}  {answer.action:<7}  {answer.rule} (line {answer.line})"
        if answer.answer is not Answer.NO:
            yield f"{'':<14}  when: {' '.join(answer.when.split())}"
        if answer.detail:
            yield f"{'':<14}  {answer.detail}"


def _difference_lines(found: Difference) -> Iterator[str]:
    if found.empty:
        yield "no rule, group, default or test differs"
    yield from (f"+ rule {rule}" for rule in found.added)
    yield from (f"- rule {rule}" for rule in found.removed)
    for change in found.changed:
        yield f"~ rule {change.rule}"
        yield from _key_lines(change.keys)
    yield from (f"  rule {rule} stands elsewhere in the order" for rule in found.moved)
    yield from _key_lines(found.head)
    yield from (f"+ test {test}" for test in found.tests_added)
    yield from (f"- test {test}" for test in found.tests_removed)


def _key_lines(keys: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for key, (old, new) in keys.items():
        yield f"    {key}"
        yield from (f"      {sign} {_said(value)}" for sign, value in (("-", old), ("+", new)) if value is not None)


def _said(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else json.dumps(value)
