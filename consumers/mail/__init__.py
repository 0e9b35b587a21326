"""From a job to a message at the relay: settings, templates, the message, the way it goes out."""
