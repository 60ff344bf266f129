"""Old answers are called old."""

from draftproof.records import Completion
from draftproof.runs import Plan
from draftproof.screen.run import given_earlier


def test_old_answers_are_called_old_and_new_ones_are_not():
    arms = [{"name": "t", "role": "baseline"}, {"name": "d", "role": "candidate", "draft": "D"}]
    plan = Plan.model_validate({"target": "T", "arms": arms})

    def at(arm, time):
        return {"p": Completion(arm=arm, id="p", text="x", answered_at=time)}

    answers = {
        "t": at("t", "2026-11-28T21:04:00+00:00"),
        "d": at("d", "2026-11-29T08:00:00+00:00"),
    }
    (said,) = given_earlier(plan, answers, "2026-11-29T07:59:00+00:00")
    assert said == (
        "answers of 't' were given on 2026-11-28 21:04 to 2026-11-28 21:04 UTC; "
        "this command asked it nothing"
    )
    assert len(given_earlier(plan, answers, None)) == 2
