"""The life of a review as a Mermaid diagram, made from the transition table. `python -m function_app.review_diagram` prints it."""

from gateway_kernel.review import TRANSITIONS, State


def diagram() -> str:
    """The lines between the fences of docs/reviews.md."""
    leaving = {state for state, _ in TRANSITIONS}
    lines = ["stateDiagram-v2", f"    [*] --> {State.OPEN}"]
    lines += [f"    {state} --> {following}: {event}" for (state, event), following in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in State if state not in leaving]
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())
