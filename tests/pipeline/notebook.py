"""A process that runs a cell in a real kernel and prints what it published, as JSON; see the test.

Jupyter's client leaves an event loop behind in the process that uses it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from jupyter_client.manager import start_new_kernel


def main() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    published: list[dict[str, Any]] = []
    try:
        client.execute_interactive(sys.stdin.read(), output_hook=published.append, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    kept = [{"kind": one["msg_type"], "content": one["content"]} for one in published]
    sys.stdout.write(json.dumps(kept))


if __name__ == "__main__":
    main()
