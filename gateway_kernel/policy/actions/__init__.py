"""What a rule can do. A new action is one file here and one line in `ACTIONS`."""

from gateway_kernel.policy.actions import allow, cap, deny, mask, record, review, rewrite
from gateway_kernel.policy.actions.action import Action

ACTIONS: tuple[Action, ...] = (
    allow.ACTION,
    deny.ACTION,
    review.ACTION,
    rewrite.ACTION,
    mask.ACTION,
    record.ACTION,
    cap.ACTION,
)
BY_NAME: dict[str, Action] = {action.name: action for action in ACTIONS}
