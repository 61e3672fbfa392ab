"""Run cases in parallel processes; the result does not depend on how many."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from validation.case import Measured, Row, Topic
from validation.topics import TOPICS


def _measure(topic: str, number: int) -> Measured:
    named = next(entry for entry in TOPICS if entry.name == topic)
    return named.measure(named.cases[number].setting)


def run(topics: Sequence[Topic], progress: Callable[[str], None]) -> dict[str, list[Row]]:
    """Run all cases of the topics, those that take longest first; return the rows by topic, in the topics' order.

    `progress` is told of each row that is done.
    """
    jobs = [(topic, number) for topic in topics for number in range(len(topic.cases))]
    jobs.sort(key=lambda job: -job[0].cases[job[1]].seconds)
    rows: dict[tuple[str, int], Row] = {}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = {pool.submit(_measure, topic.name, number): (topic, number) for topic, number in jobs}
        for future in as_completed(futures):
            topic, number = futures[future]
            case = topic.cases[number]
            rows[topic.name, number] = Row(topic, case, topic.expect(case.setting), future.result())
            progress(f"{len(rows)} of {len(jobs)}: {topic.name}, {', '.join(case.labels)}")
    return {topic.name: [rows[topic.name, number] for number in range(len(topic.cases))] for topic in topics}
