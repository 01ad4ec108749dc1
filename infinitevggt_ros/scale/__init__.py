"""How many metres the stream's unit has: a small class per source (`scale.source`)."""
