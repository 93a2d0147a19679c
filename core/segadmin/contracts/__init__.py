"""The interfaces that plugins implement, the hooks that register them, and the plugin registry."""
