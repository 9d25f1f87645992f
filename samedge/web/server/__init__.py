"""``samedge serve``: a bundle behind a JSON interface, for other programs and for the page."""
