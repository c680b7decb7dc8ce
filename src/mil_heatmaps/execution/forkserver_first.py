"""Imported first by the server that workers are forked from.

Ctrl-C goes to the whole terminal: while it still imports, the server ends without a word instead of a traceback.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
