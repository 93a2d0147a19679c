"""Contract suites: run them over a plugin of your own to know that segadmin can use it."""
