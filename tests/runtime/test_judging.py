"""How long a plan that is refused is looked at again: as long as our view may come to agree with it."""

from __future__ import annotations

import pytest
import trio

from mesh.runtime.jobs.attempts import ATTEMPTS, pause_s
from mesh.runtime.judging import LOOK_AGAIN_S, LOOKS, patiently
from protocols.errors import EpochEnded, MeshError, Refused

OTHER_VIEW = Refused("another view", reasons={})
OVER = EpochEnded("of an epoch that is over", definite=True)


class Judge:
    """Raises its errors one after another, then agrees."""

    def __init__(self, *errors: MeshError) -> None:
        self.errors = list(errors)
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_another_view_may_come_to_agree(autojump_clock) -> None:
    judge = Judge(*[OTHER_VIEW] * (LOOKS - 1))
    await patiently(judge)
    assert judge.looks == LOOKS
    assert trio.current_time() == pytest.approx((LOOKS - 1) * LOOK_AGAIN_S)
    with pytest.raises(Refused):
        await patiently(Judge(*[OTHER_VIEW] * LOOKS))


@pytest.mark.parametrize("before", [[], [OTHER_VIEW]])
async def test_a_plan_of_an_epoch_that_is_over_is_refused_at_once(autojump_clock, before) -> None:
    judge = Judge(*before, OVER)
    with pytest.raises(EpochEnded):
        await patiently(judge)
    assert judge.looks == len(before) + 1
    assert trio.current_time() == pytest.approx(len(before) * LOOK_AGAIN_S)


def test_whoever_is_refused_at_once_has_as_long_to_hear_of_the_new_epoch_as_one_who_is_not() -> None:
    at_once = sum(pause_s(attempt) for attempt in range(1, ATTEMPTS))
    assert at_once >= ATTEMPTS * (LOOKS - 1) * LOOK_AGAIN_S
