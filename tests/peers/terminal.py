"""A program in a terminal, told to end while its view is shown. Arguments: the text to wait for, then the program and its own.

Prints one JSON object: how it ended (negative: by that signal), whether the terminal was taken over while the text was shown, and whether it
is as it was before.
"""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 30.0
LEAVES_VIEW = b"\x1b[?1049l"

text, *command = sys.argv[1:]
here, there = pty.openpty()
fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
before = termios.tcgetattr(there)
program = subprocess.Popen(
    command, stdin=there, stdout=there, stderr=there, start_new_session=True
)
os.set_blocking(here, False)
deadline = time.monotonic() + PATIENCE
shown = b""


def read():
    """Takes what was written since. Whether there was anything."""
    global shown
    try:
        shown += os.read(here, 65536)
        return True
    except BlockingIOError:
        return False


while text.encode() not in shown:
    if time.monotonic() > deadline or program.poll() is not None:
        program.kill()
        sys.exit(f"{text!r} was not shown: {shown!r}")
    if not read():
        time.sleep(0.01)
taken = termios.tcgetattr(there) != before
program.send_signal(signal.SIGTERM)
while program.poll() is None:
    if time.monotonic() > deadline:
        program.kill()
        sys.exit("it did not end")
    if not read():
        time.sleep(0.01)
while read():
    pass
print(
    json.dumps(
        {
            "ended": program.returncode,
            "taken": taken,
            "given_back": termios.tcgetattr(there) == before
            and shown.rindex(LEAVES_VIEW) > shown.rindex(text.encode()),
        }
    )
)
