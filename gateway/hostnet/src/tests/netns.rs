//! Tests in namespaces that they make and remove: one plays the host, others play containers.

mod attaching;
mod bridging;
mod failing;

use std::future::Future;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use weave_model::{Cidr, Mac};

use crate::{Attachment, Bridge, Host, Netns};

const MAC: Mac = Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);

/// A namespace of its own, removed at the end of the test.
struct Namespace(String);

impl Namespace {
    fn new(label: &str) -> Namespace {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hostnet-{}-{count}-{label}", std::process::id());
        command("ip", &["netns", "add", &name]);
        Namespace(name)
    }

    fn netns(&self) -> Netns {
        Netns::Named(self.0.clone())
    }

    /// `ip -n NAME …`, its words separated by blanks.
    fn ip(&self, words: &str) -> String {
        let mut arguments = vec!["-n", &self.0];
        arguments.extend(words.split(' '));
        command("ip", &arguments)
    }

    /// Names of all interfaces but lo.
    fn interfaces(&self) -> Vec<String> {
        let listing = self.ip("-o link show");
        let names = listing.lines().filter_map(|line| line.split([':', '@']).nth(1));
        names.map(|name| name.trim().to_owned()).filter(|name| name != "lo").collect()
    }

    /// Runs `work` on a thread that stands in the namespace.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.0)).expect("the namespace is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("entering needs root");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` with the networking of the namespace, in a runtime inside it.
    fn host<T: Send>(&self, work: impl AsyncFnOnce(Host) -> T + Send) -> T {
        self.block_on(async || work(Host::new().expect("opening netlink")).await)
    }

    fn block_on<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(within(work()))
        })
    }

    fn socket(&self, address: &str) -> UdpSocket {
        let address: IpAddr = address.parse().expect("an address");
        let socket =
            self.run(|| UdpSocket::bind(SocketAddr::new(address, 0))).expect("the address is usable at once");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("done within 30 s")
}

fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn bridge() -> Bridge {
    Bridge { name: "weave".to_owned(), mac: MAC, mtu: 1376 }
}

fn attachment(container: &Namespace, addresses: &[&str]) -> Attachment {
    Attachment {
        netns: container.netns(),
        bridge: "weave".to_owned(),
        interface: "ethwe".to_owned(),
        mtu: 1376,
        addresses: cidrs(addresses),
        container_id: "c0ffee".to_owned(),
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("an address")
}

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| cidr(text)).collect()
}

/// A datagram there and one back.
fn exchange(from: &UdpSocket, to: &UdpSocket) {
    let mut buffer = [0; 16];
    from.send_to(b"there", to.local_addr().expect("bound")).expect("sending there");
    let (length, sender) = to.recv_from(&mut buffer).expect("the datagram arrives");
    assert_eq!(&buffer[..length], b"there");
    to.send_to(b"back", sender).expect("sending back");
    let length = from.recv(&mut buffer).expect("the answer arrives");
    assert_eq!(&buffer[..length], b"back");
}
