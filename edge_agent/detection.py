"""The compiled detectors of an obligation, made once for each policy and shared by every protocol's room.

What is done with them is `gateway_kernel.masking`'s, and each room's own.
"""

from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.verdict import DetectMask, Strategy, stricter_strategy

_MEMORY: dict[tuple[tuple[DetectMask, ...], int], Detection] = {}
_REMEMBERED = 64


def detection(masks: tuple[DetectMask, ...], keys: MaskingKeys | None) -> Detection | None:
    """What these masks look for, None without any. ValueError if a strategy's keys are missing."""
    if not masks:
        return None
    found = _MEMORY.get((masks, id(keys)))
    if found is None:
        strategies: dict[str, Strategy] = {}
        for mask in masks:
            for name in mask.detect:
                known = strategies.get(name)
                strategies[name] = mask.strategy if known is None else stricter_strategy(known, mask.strategy)
        if len(_MEMORY) >= _REMEMBERED:
            _MEMORY.clear()
        found = _MEMORY[(masks, id(keys))] = Detection(strategies, keys)
    return found
