"""answer: each kind of question has one tool; what no tool can settle is "cannot tell", with what would be needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..records import Answer, Reading
from . import changes, of_findings, of_study
from .looking_up import cannot
from .question import Question, understand
from .refusing import refuse

Tool = Callable[[Question, Reading], Answer]

TOOLS: dict[str, Tool] = {
    "modality": of_study.modality,
    "plane": of_study.plane,
    "weighting": of_study.weighting,
    "body_part": of_study.body_part,
    "patient": of_study.patient,
    "matrix": of_study.matrix,
    "quality": of_study.quality,
    "radiation": of_study.radiation,
    "function": of_study.function,
    "unread": of_study.unread,
    "how_found": of_findings.how_found,
    "certainty": of_findings.certainty,
    "normal": of_findings.normal,
    "bigger": of_findings.bigger,
    "count": of_findings.count,
    "size": of_findings.size,
    "where": of_findings.where,
    "which": of_findings.which,
    "presence": of_findings.presence,
}


def answer(question: str, reading: Reading, priors: Sequence[Reading] = ()) -> Answer:
    """The answer from the reading's findings, measurements and facts, and from those of its priors; no model.

    priors   readings of the same patient, in any order; only those dated before the study are compared with.

    Every "answered" rests on at least one id of the reading, ``PRIOR:id`` of a prior, or ``fact:id``. Raises
    QuestionRefused for a question that is no question about this study.
    """
    refuse(question)
    asked = understand(question)
    if asked.kind == "change":
        return changes.change(asked, reading, priors)
    tool = TOOLS.get(asked.kind)
    if tool is not None:
        return tool(asked, reading)
    if asked.kind == "advice":
        return cannot(
            reading,
            "causes, symptoms, treatment and prognosis are not in the study",
            "a physician, and a guideline with its source and date",
        )
    if asked.kind == "looks":
        return cannot(
            reading, "how something looks was not measured", "somebody, or an admitted reader model, that looks"
        )
    return cannot(
        reading,
        "no rule understands this question",
        "a question about a finding, a measurement, a change, or how the study was made",
    )
