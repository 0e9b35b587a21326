"""One delivery of a webhook: signed, sent once, judged and written down."""
