"""What goes over the wire and what comes back, from sockets to samples. No event loop."""
