"""Results in the formats of other tools, so that scripts which read those run on them."""
