"""When requests leave: schedules, traces, pauses for thought. Pure."""
