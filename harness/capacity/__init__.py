"""How much load a server holds: the highest rate at which the SLOs are met."""
