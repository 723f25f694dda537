"""The way a test talks with a peer: one JSON object a line on standard input, one a line back.

A request is {"op": NAME, ...arguments}. The answer is {"ok": {...}} or {"error": TEXT}. The first line that a
peer writes is {"ok": {"ready": true}}. A peer ends when its standard input is closed, so that none outlives
the test that started it.
"""

import asyncio
import json
import sys


async def serve(operations):
    """Answers requests with the coroutine functions of `operations` until standard input is closed."""
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    _answer({"ok": {"ready": True}})
    while line := await requests.readline():
        try:
            request = json.loads(line)
            operation = operations[request.pop("op")]
            result = await operation(**request)
        except Exception as error:  # The test that asked is told, whatever it was.
            _answer({"error": f"{type(error).__name__}: {error}"})
        else:
            _answer({"ok": result or {}})


def _answer(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
