"""Moves a lot of bytes over one TCP connection: serve PORT | send ADDRESS PORT BYTES MARK.

The bytes are random and hold the mark at the beginning of every 64 KiB. Each side prints how many bytes it moved,
their SHA-256 and the seconds it took.
"""

import hashlib
import os
import socket
import sys
import time

BLOCK = 1 << 16


def report(count, digest, begun):
    print(count, digest.hexdigest(), time.monotonic() - begun, flush=True)


def serve(port):
    with socket.create_server(("0.0.0.0", port)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
    begun, digest, count = time.monotonic(), hashlib.sha256(), 0
    with connection:
        while part := connection.recv(1 << 20):
            digest.update(part)
            count += len(part)
        report(count, digest, begun)


def send(address, port, count, mark):
    pool = [mark + os.urandom(BLOCK - len(mark)) for _ in range(64)]
    begun, digest = time.monotonic(), hashlib.sha256()
    with socket.create_connection((address, port), timeout=30) as connection:
        for number in range(-(-count // BLOCK)):
            # Every block is another, so that none that is lost or moved goes unnoticed.
            part = pool[number % len(pool)][:-8] + number.to_bytes(8, "big")
            part = part[: count - number * BLOCK]
            digest.update(part)
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        # The end of the other side, or "sent" would mean "buffered".
        connection.recv(1)
    report(count, digest, begun)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), bytes.fromhex(sys.argv[5]))
