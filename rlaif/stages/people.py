"""People of a run's data, for the stages whose labelers ask them."""

from __future__ import annotations

from rlaif.labelers.people import People, bind_people
from rlaif.pipeline.stage import Work


def bound_people(labeler: object, work: Work) -> People:
    """Bind a labeler to the people of the step's role ``people``.

    Args:
        labeler: A labeler, or a component that declares labelers as its members. Changed in place.
        work: A step; without the role, nothing is bound.

    Returns:
        The people; without labels and annotators where the step has no such role.
    """
    if not work.has("people"):
        return People()
    data = work.data("people")
    people = People.of(data, data.content_id("people"))
    bind_people(labeler, people)
    return people
