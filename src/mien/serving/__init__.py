"""The HTTP API, the web page, the live page of `mien watch`, and the page's export for browsers."""
