//! The load generators for latency and packet rate; iperf3 makes the bulk streams.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Requests go here over TCP; a request of one zero byte asks for one byte, `b'c'` for the packet count.
const REQUEST_PORT: u16 = 7001;
/// Packets go here over UDP.
const PACKET_PORT: u16 = 7002;
/// 64 bytes of Ethernet frame: 14 Ethernet, 20 IPv4, 8 UDP, 18 payload, 4 check sum.
const PAYLOAD: usize = 18;
/// Packets handed to the kernel at once.
const BATCH: usize = 64;

/// Answers requests and counts packets until killed.
pub(crate) fn serve(address: IpAddr) -> anyhow::Result<()> {
    let packets = UdpSocket::bind((address, PACKET_PORT)).context("while opening the packet port")?;
    let counted = Arc::new(AtomicU64::new(0));
    let counter = counted.clone();
    std::thread::spawn(move || {
        loop {
            counter.fetch_add(receive_batch(&packets), Ordering::Relaxed);
        }
    });
    let listener = TcpListener::bind((address, REQUEST_PORT)).context("while opening the request port")?;
    for stream in listener.incoming() {
        let (mut stream, counted) = (stream?, counted.clone());
        stream.set_nodelay(true)?;
        std::thread::spawn(move || {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                let answered = if byte == *b"c" {
                    stream.write_all(&counted.load(Ordering::Relaxed).to_be_bytes())
                } else {
                    stream.write_all(&byte)
                };
                if answered.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Prints `p50 p99` of one-byte round trips, in microseconds.
pub(crate) fn requests(address: IpAddr, time: Duration) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let (mut byte, mut latencies) = ([0], Vec::with_capacity(1 << 20));
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&[0])?;
        stream.read_exact(&mut byte)?;
        latencies.push(sent.elapsed().as_nanos() as f64 / 1000.0);
    }
    ensure!(!latencies.is_empty(), "no answer came back");
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("{:.1} {:.1}", at(0.5), at(0.99));
    Ok(())
}

/// Prints how many packets a second arrived.
pub(crate) fn packets(address: IpAddr, time: Duration) -> anyhow::Result<()> {
    let mut control = connect(address)?;
    let socket = UdpSocket::bind(match address {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    })?;
    socket.connect((address, PACKET_PORT))?;
    let before = counted(&mut control)?;
    let start = Instant::now();
    while start.elapsed() < time {
        send_batch(&socket);
    }
    let after = counted(&mut control)?;
    println!("{:.0}", (after - before) as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn connect(address: IpAddr) -> anyhow::Result<TcpStream> {
    let server = SocketAddr::new(address, REQUEST_PORT);
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5)).context("while connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn counted(control: &mut TcpStream) -> anyhow::Result<u64> {
    let mut count = [0; 8];
    control.write_all(b"c")?;
    control.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

fn send_batch(socket: &UdpSocket) {
    let mut payload = [0u8; PAYLOAD];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: PAYLOAD };
    let mut messages = [empty_message(); BATCH];
    for message in &mut messages {
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: `messages` has BATCH entries; all point at `part` and `payload`, which outlive the call.
    unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, 0) };
}

fn receive_batch(socket: &UdpSocket) -> u64 {
    let mut payload = [0u8; 2048];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut messages = [empty_message(); BATCH];
    for message in &mut messages {
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: as above; all packets land in the same buffer, which nobody reads.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            BATCH as u32,
            libc::MSG_WAITFORONE,
            std::ptr::null_mut(),
        )
    };
    u64::try_from(count).unwrap_or(0)
}

fn empty_message() -> libc::mmsghdr {
    // SAFETY: an mmsghdr of all zeroes is valid: null pointers with zero lengths.
    unsafe { std::mem::zeroed() }
}
