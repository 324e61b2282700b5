"""What a person would write without hvrig: boot the board with pexpect and run the same memtester calls over SSH.

No checks, no log, no watch: `python benchmarks/bare_gate.py OUTLET UART SSH KEY LADDER` runs it on a rack's ports.
It is the baseline of benchmarks/overhead.py.
"""

from __future__ import annotations

import socket
import sys
import time

import paramiko
import pexpect.fdpexpect
import requests

BOOT = (
    "setenv autoload no",
    "dhcp",
    "setenv serverip 10.0.2.2",
    "tftp 0x50400000 Image",
    "tftp 0x4a000000 initrd.gz",
    "tftp 0x4f000000 zone0-all.dtb",
    "tftp 0x40000000 board.dtb",
    "tftp 0x4c000000 hvisor.bin",
)


def main() -> None:
    outlet, uart, ssh, key, ladder = sys.argv[1:]
    url = f"http://127.0.0.1:{outlet}/outlet/1"
    requests.put(url, data=b"0", timeout=10).raise_for_status()
    with socket.create_connection(("127.0.0.1", int(uart))) as connection:
        console = pexpect.fdpexpect.fdspawn(connection, timeout=60, maxread=65536)
        requests.put(url, data=b"1", timeout=10).raise_for_status()
        console.expect(b"stop autoboot")
        console.send(b"\x03")
        console.expect(b"=> ")
        for command in BOOT:
            console.sendline(command.encode())
            console.expect(b"\n=> ")
        console.sendline(b"bootm 0x4c000000 - 0x40000000")
        console.expect(b"root@virtual:")
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        connect(client, int(ssh), key)
        for size in ladder.split(","):
            _, output, _ = client.exec_command(f"MEMTESTER_TEST_MASK=0x1 memtester {size} 1")
            output.read()
            assert output.channel.recv_exit_status() == 0, size
        client.close()
    requests.put(url, data=b"0", timeout=10).raise_for_status()


def connect(client: paramiko.SSHClient, port: int, key: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            client.connect("127.0.0.1", port, "root", key_filename=key, banner_timeout=2, look_for_keys=False)
        except (OSError, paramiko.SSHException):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()
