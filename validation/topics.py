"""Every topic, in the order of the page."""

from validation import bifrost, pause

TOPICS = (pause.TOPIC, bifrost.CURVE, bifrost.KNEE)
