"""Every topic, in the order of the page."""

from validation import bifrost, dcqcn, field, pause, room, sdr, threshold, window
from validation.case import Topic

TOPICS: tuple[Topic, ...] = (
    pause.TOPIC,
    bifrost.CURVE,
    bifrost.KNEE,
    room.TOPIC,
    threshold.TOPIC,
    sdr.TOPIC,
    window.TOPIC,
    dcqcn.MARKED,
    dcqcn.FAIR,
    field.TOPIC,
)
