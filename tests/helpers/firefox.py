"""Firefox by its remote protocol (Marionette): a number, a colon, and a JSON list in each direction."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.helpers.waiting import LONG_S, free_port


class Firefox:
    """A headless Firefox with a separate profile."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("firefox-esr") or shutil.which("firefox")
        assert program is not None
        port = free_port()
        profile.mkdir(exist_ok=True)
        settings = {
            "marionette.port": port, "app.update.enabled": False, "toolkit.telemetry.server": "",
            "datareporting.policy.dataSubmissionEnabled": False, "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False, "browser.safebrowsing.downloads.remote.enabled": False,
        }  # fmt: skip
        (profile / "user.js").write_text(
            "".join(f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in settings.items())
        )
        command = [program, "--marionette", "--headless", "--no-remote", "--profile", str(profile)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._socket = self._connect(port)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._receive()
        self.ask("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": True}}})

    def _connect(self, port: int) -> socket.socket:
        end = time.monotonic() + LONG_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def _receive(self) -> Any:
        digits = b""
        while (byte := self._file.read(1)) != b":":
            digits += byte
        return json.loads(self._file.read(int(digits)))

    def ask(self, command: str, parameters: dict[str, Any] | None = None) -> Any:
        """Send a command; return its result."""
        self._number += 1
        data = json.dumps([0, self._number, command, parameters or {}]).encode()
        self._socket.sendall(str(len(data)).encode() + b":" + data)
        _, number, error, result = self._receive()
        assert number == self._number
        assert error is None, error
        return result

    def open(self, address: str) -> None:
        """Go to an address."""
        self.ask("WebDriver:Navigate", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the result of a script that runs in the page's own world."""
        sent = {"script": script, "args": list(arguments), "sandbox": None}
        return self.ask("WebDriver:ExecuteScript", sent)["value"]

    def wait_for(self, script: str, seconds: float = LONG_S) -> None:
        """Run a script until it returns something true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"still not so after {seconds} s: {script}"
            time.sleep(0.05)

    def close(self) -> None:
        """End Firefox."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(LONG_S)
