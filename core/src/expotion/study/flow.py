"""From a request to a page: where a participant stands and what an answer leads to. Knows nothing of sockets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from expotion.study import headphones, pages, session
from expotion.study.model import TRAINING, Study
from expotion.study.store import Answers, Participant

_SESSION = re.compile(r"/s/([0-9A-Za-z-]{1,40})(?:/(headphones|answer))?$")
_REFUSALS = {
    400: ("That did not arrive whole", "Please go back and send the page again."),
    404: ("There is no such page", "Please check the address, or start from the first page."),
    411: ("That did not arrive whole", "Please go back and send the page again."),
    413: ("That is too much", "Please go back and send the page again."),
    503: ("Your answer could not be stored", "Please go back and send it again in a moment."),
}


@dataclass(frozen=True)
class Reply:
    """A page with its status, or where to go instead."""

    status: int = 200
    page: str = ""
    location: str | None = None


class Flow:
    """The pages of a study in their order. A page is found from the answers alone, so any may be reloaded."""

    def __init__(self, study: Study, answers: Answers) -> None:
        self.study, self.answers = study, answers

    def get(self, path: str) -> Reply:
        """The page at a path."""
        if path in ("/", ""):
            return Reply(page=pages.intro_page(self.study))
        found = _SESSION.match(path)
        participant = self.answers.find(found[1]) if found else None
        if participant is None or found is None:
            return self.refused(404, path)
        if found[2]:
            return Reply(location=f"../{participant.code}")
        return self._current(participant)

    def post(self, path: str, form: Mapping[str, str]) -> Reply:
        """What a form leads to."""
        if path == "/join":
            return self._join(form)
        if path == "/resume":
            participant = self.answers.find(form.get("code", ""))
            if participant is None:
                text = "There is no such code. Please check its letters."
                return Reply(400, pages.intro_page(self.study, resume_problem=text))
            return Reply(location=f"s/{participant.code}")
        found = _SESSION.match(path)
        participant = self.answers.find(found[1]) if found else None
        if participant is None or found is None or found[2] is None:
            return self.refused(404, path)
        return self._screen(participant, form) if found[2] == "headphones" else self._keep(participant, form)

    def refused(self, status: int, path: str) -> Reply:
        """An error as a page."""
        heading, text = _REFUSALS[status]
        base = "../" * max(0, path.partition("?")[0].count("/") - 1)
        return Reply(status, pages.message_page(self.study, heading, text, base))

    def _join(self, form: Mapping[str, str]) -> Reply:
        if form.get("consent") != "1" or form.get("training") not in TRAINING:
            text = "Please state your musical training and tick the box to take part."
            return Reply(400, pages.intro_page(self.study, text))
        participant = self.answers.join(form["training"])
        return Reply(location=f"s/{participant.code}")

    def _current(self, participant: Participant, problem: str = "") -> Reply:
        """The page where a participant stands; with a problem, in answer to a form, which is a folder deeper."""
        status, base = (400, "../../") if problem else (200, "../")
        if not participant.screened:
            return Reply(status, pages.headphones_page(self.study, participant, problem, base))
        trials = session.trials_of(self.study, participant.slot)
        trial = session.next_trial(trials, self.answers.answered(participant.id))
        if trial is None:
            return Reply(page=pages.done_page(self.study, participant))
        return Reply(status, pages.trial_page(self.study, participant, trial, len(trials), problem, base))

    def _screen(self, participant: Participant, form: Mapping[str, str]) -> Reply:
        """A headphones check. One that was answered before (sent twice, or the back button) changes nothing."""
        attempt, softest = len(participant.attempts), self.study.screening.softest
        if not participant.screened and form.get("attempt") == str(attempt):
            if any(form.get(token) not in ("0", "1", "2") for token in softest):
                return self._current(participant, "Please answer for every sound.")
            right = headphones.n_correct(softest, {token: int(form[token]) for token in softest})
            self.answers.add_attempt(participant.id, attempt, right, right >= headphones.N_TO_PASS)
        return Reply(location=f"../{participant.code}")

    def _keep(self, participant: Participant, form: Mapping[str, str]) -> Reply:
        """An answer to the trial at hand; one to any other trial changes nothing."""
        trials = session.trials_of(self.study, participant.slot)
        answered = self.answers.answered(participant.id)
        trial = session.next_trial(trials, answered) if participant.screened else None
        if trial is not None and form.get("trial") == str(trial.number):
            try:
                response = session.read_answer(self.study, trial, form)
            except session.Incomplete as error:
                return self._current(participant, str(error))
            last = len(answered) + 1 == len(trials)
            self.answers.add_answer(
                participant.id, trial.number, trial.kind, trial.stimuli, response, last=last
            )
        return Reply(location=f"../{participant.code}")
