"""The HTTP door; nothing is imported here, so that nobody loads a web server who does not open one."""
