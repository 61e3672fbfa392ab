"""Every topic, in the order of the page."""

from validation import (
    bifrost,
    dcqcn,
    erasure,
    field,
    htsim,
    lcmp,
    pause,
    queue_pairs,
    recovery,
    room,
    sdr,
    threshold,
    watchdog,
    window,
)
from validation.case import Topic

TOPICS: tuple[Topic, ...] = (
    pause.TOPIC,
    bifrost.CURVE,
    bifrost.KNEE,
    room.TOPIC,
    threshold.TOPIC,
    recovery.GO_BACK_N_TOPIC,
    recovery.SELECTIVE_REPEAT_TOPIC,
    sdr.TOPIC,
    erasure.TOPIC,
    window.TOPIC,
    window.CREDIT,
    watchdog.TOPIC,
    dcqcn.MARKED,
    dcqcn.FAIR,
    field.TOPIC,
    queue_pairs.TOPIC,
    lcmp.TOPIC,
    htsim.TOPIC,
)
