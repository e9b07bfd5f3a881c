"""Sends and hears single datagrams and frames: listen KIND | send KIND TEXT [MAC], where KIND is multicast, dhcp, arp
or tagged (a frame of VLAN 7 that fills the MTU, to everybody or to MAC).

A listener prints `ready`, then every text it hears on a line of its own, as often as it hears it.
"""

import socket
import struct
import sys

INTERFACE = "ethwe"
GROUP, PORT = "239.1.2.3", 5007
EVERYBODY = b"\xff" * 6
# RFC 5342 §3: for local experiments, so that nothing else speaks it.
EXPERIMENT, TAG = b"\x88\xb5", struct.pack("!HH", 0x8100, 7)
# From linux/if_packet.h, which Python does not know.
SOL_PACKET, PACKET_AUXDATA, VLAN_VALID = 263, 8, 1 << 4


def own_mac():
    with open(f"/sys/class/net/{INTERFACE}/address") as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


def own_ip():
    # Where a datagram to the group would come from.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.32.1.254", 9))
        return socket.inet_aton(probe.getsockname()[0])


def packets(ethertype):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    sock.bind((INTERFACE, ethertype))
    return sock


def udp(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("0.0.0.0", port))
    return sock


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def say(text):
    print(text, flush=True)


def tag_and_rest(sock):
    """Receives a frame; the kernel has moved its tag beside it."""
    frame, beside, _, _ = sock.recvmsg(65536, 256)
    for level, kind, data in beside:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tag, _ = struct.unpack("IIIHHHH", data[:20])
            if status & VLAN_VALID:
                return tag & 0xFFF, frame[12:]
    return None, frame[12:]


def listen(kind):
    if kind == "tagged":
        sock = packets(0x0003)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        say("ready")
        while True:
            tag, rest = tag_and_rest(sock)
            if tag == 7 and rest[:2] == EXPERIMENT:
                say(rest[2:].rstrip(b"\0").decode())
    if kind == "arp":
        sock = packets(0x0806)
        say("ready")
        while True:
            frame = sock.recv(2048)
            if frame[:6] == EVERYBODY and frame[20:22] == b"\0\1":
                say(socket.inet_ntoa(frame[38:42]))
    sock = udp(67 if kind == "dhcp" else PORT)
    if kind == "multicast":
        index = socket.if_nametoindex(INTERFACE)
        member = struct.pack("4s4si", socket.inet_aton(GROUP), bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    say("ready")
    while True:
        say(sock.recv(2048).decode())


def send(kind, text, to=None):
    if kind == "multicast":
        sock = udp(0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        index = socket.if_nametoindex(INTERFACE)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
        sock.sendto(text.encode(), (GROUP, PORT))
    elif kind == "dhcp":
        # A client that has no address yet: 0.0.0.0 port 68 to everybody's port 67.
        data = text.encode()
        datagram = struct.pack("!HHHH", 68, 67, 8 + len(data), 0) + data
        parts = [0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4]
        parts[7] = checksum(struct.pack("!BBHHHBBH4s4s", *parts))
        header = struct.pack("!BBHHHBBH4s4s", *parts)
        packets(0x0800).send(EVERYBODY + own_mac() + b"\x08\0" + header + datagram)
    elif kind == "tagged":
        with open(f"/sys/class/net/{INTERFACE}/mtu") as file:
            body = text.encode().ljust(int(file.read()), b"\0")
        to = bytes.fromhex(to.replace(":", "")) if to else EVERYBODY
        packets(0x8100).send(to + own_mac() + TAG + EXPERIMENT + body)
    elif kind == "arp":
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own_mac() + own_ip() + bytes(6) + socket.inet_aton(text)
        packets(0x0806).send(EVERYBODY + own_mac() + b"\x08\x06" + body)


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen(sys.argv[2])
    else:
        send(*sys.argv[2:])
