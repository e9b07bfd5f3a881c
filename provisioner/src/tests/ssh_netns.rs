//! SSH against the real sshd, on loopback inside namespaces of this test. Needs root and openssh-server.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_core::{Cloud, HostSpec, HostState, Leftover, Observed, ProviderError, Site, Stream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::install::{Content, WantedFile};
use crate::remote::{Remote as _, SshRemote};
use crate::ssh::{Ending, Request, SshError, Streams, quote};
use crate::state::StateDir;
use crate::vault::Vault;

const LIMIT: Duration = Duration::from_secs(20);

/// An sshd that ends with the test.
struct Server {
    child: Child,
    port: u16,
    parent: tempfile::TempDir,
    vault: Vault,
}

impl Server {
    fn start() -> Server {
        let parent = tempfile::tempdir().unwrap();
        let vault = Vault::new(StateDir::new(parent.path().join("state")));
        let file = |name: &str| parent.path().join(name);
        std::fs::write(file("authorized"), vault.operator_line().unwrap()).unwrap();
        private(&file("key"), vault.host_key("box").unwrap().reveal());
        // Of another host, to be shown by nobody.
        vault.host_key("other").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {key}\nAuthorizedKeysFile {authorized}\nStrictModes no\n\
             UsePAM no\nPermitRootLogin prohibit-password\nPidFile none\nMaxStartups 100\n",
            key = file("key").display(),
            authorized = file("authorized").display(),
        );
        std::fs::write(file("config"), config).unwrap();
        // sshd wants /run/sshd and an unlocked root, and root's login scripts are none of our business (killed, they
        // leave locks behind); all this exists only in this mount namespace.
        let script = format!(
            "set -e; mount --make-rprivate /; mount -t tmpfs none /run; mkdir -m 755 /run/sshd; \
             sed 's/^root:!*/root:*/' /etc/shadow >{shadow}; chmod 600 {shadow}; mount --bind {shadow} /etc/shadow; \
             mkdir {home}; sed 's|^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:.*|\\1:{home}:/bin/bash|' /etc/passwd >{passwd}; \
             mount --bind {passwd} /etc/passwd; \
             exec /usr/sbin/sshd -D -e -f {config}",
            shadow = file("shadow").display(),
            passwd = file("passwd").display(),
            home = file("home").display(),
            config = file("config").display(),
        );
        let log = std::fs::File::create(file("log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server { child, port, parent, vault };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(server.parent.path().join("log")).unwrap();
            assert!(
                start.elapsed() < LIMIT,
                "sshd does not listen (this test needs root and openssh-server): {log}"
            );
            std::thread::yield_now();
        }
        server
    }

    fn remote(&self) -> SshRemote {
        SshRemote::new(Arc::new(Loopback { port: self.port }), self.vault.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Takes its pid namespace along, and with that every session and command.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A cloud that has only streams.
struct Loopback {
    port: u16,
}

impl Cloud for Loopback {
    fn name(&self) -> &str {
        "loopback"
    }

    fn connect(&self, _: &str, _: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let retry = |e: std::io::Error| ProviderError::Retryable(e.to_string());
        let stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).map_err(retry)?;
        stream.set_nodelay(true).map_err(retry)?;
        stream.set_nonblocking(true).map_err(retry)?;
        Ok(Box::new(tokio::net::TcpStream::from_std(stream).map_err(retry)?))
    }

    fn ensure_site(&self, _: &Site) -> Result<(), ProviderError> {
        unreachable!()
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        unreachable!()
    }

    fn create_host(&self, _: &HostSpec) -> Result<HostState, ProviderError> {
        unreachable!()
    }

    fn destroy_host(&self, _: &str) -> Result<(), ProviderError> {
        unreachable!()
    }

    fn remove_site(&self, _: &str) -> Result<(), ProviderError> {
        unreachable!()
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        unreachable!()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Bytes that no compression and no text conversion leaves as they are.
fn noise(length: usize) -> Vec<u8> {
    let mut x = 1_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn commands_get_their_words_and_give_their_status() {
    let server = Server::start();
    run(async {
        let session = server.remote().session("box").await.unwrap();
        let exec = async |words: &[&str]| session.exec(quote::command(words), b"", LIMIT).await.unwrap();
        let odd = ["", "a b", "it's", "$HOME", "`id`", "*", "\\", "\"", "x\ny", "ä", "--"];
        let out = exec(&[&["printf", "%s\\0"], &odd[..]].concat()).await;
        assert_eq!(String::from_utf8(out.stdout).unwrap(), odd.map(|word| format!("{word}\0")).concat());
        assert_eq!(
            exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await,
            crate::ssh::Output { status: 7, stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() }
        );
        assert_eq!(exec(&["no-such-command"]).await.status, 127);
        for (name, status) in [("TERM", 143), ("KILL", 137), ("USR1", 138), ("USR2", 140), ("HUP", 129)] {
            assert_eq!(exec(&["sh", "-c", &format!("kill -{name} $$")]).await.status, status, "{name}");
        }
    });
}

#[test]
fn a_megabyte_goes_both_ways_at_once() {
    let server = Server::start();
    run(async {
        let session = server.remote().session("box").await.unwrap();
        let sent = noise(1 << 20);
        let out = session.exec("cat", &sent, LIMIT).await.unwrap();
        assert!(out.status == 0 && out.stdout == sent);

        let (tell, size) = watch::channel((80, 24));
        let (mut near, far) = tokio::io::duplex(4096);
        let streams = Streams { stdin: &sent[..], stdout: far, stderr: tokio::io::sink(), size };
        let read = async {
            let mut got = Vec::new();
            near.read_to_end(&mut got).await.unwrap();
            got
        };
        let request = Request::Exec(b"tee /dev/stderr; exit 9".to_vec());
        let (ending, got) = tokio::join!(session.through(request, streams), read);
        assert_eq!((ending.unwrap(), got == sent), (Ending::Exit(9), true));
        drop(tell);
    });
}

#[test]
fn shells_run_with_and_without_a_terminal_and_nobody_reading_ends_them() {
    let server = Server::start();
    run(async {
        let session = server.remote().session("box").await.unwrap();
        let (_tell, size) = watch::channel((101, 33));
        let talk = async |request: Request, stdin: &'static [u8]| {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            let streams = Streams { stdin, stdout: far, stderr: tokio::io::sink(), size: size.clone() };
            let read = async {
                let mut got = String::new();
                near.read_to_string(&mut got).await.unwrap();
                got
            };
            let (ending, got) = tokio::join!(session.through(request, streams), read);
            (ending.unwrap(), got)
        };
        let (ending, got) = talk(Request::Shell, b"echo a\"\"b; exit 5\n").await;
        assert_eq!((ending, got.contains("ab\n")), (Ending::Exit(5), true), "{got}");
        let (ending, got) =
            talk(Request::Terminal("xterm".to_owned()), b"stty size; echo $TERM; exit 6\n").await;
        assert!(
            ending == Ending::Exit(6) && got.contains("33 101") && got.contains("xterm"),
            "{ending:?}: {got}"
        );

        let (near, far) = tokio::io::duplex(64);
        drop(near);
        let streams = Streams { stdin: &b""[..], stdout: far, stderr: tokio::io::sink(), size: size.clone() };
        let ending =
            tokio::time::timeout(LIMIT, session.through(Request::Exec(b"yes".to_vec()), streams)).await;
        assert_eq!(ending.unwrap().unwrap().status(), 141);
        // Every way out has given its channel back: sshd allows ten at once.
        for _ in 0..25 {
            let late = session.exec("cat", b"", Duration::from_secs(5)).await;
            assert!(late.is_ok(), "{late:?}");
        }
    });
}

#[test]
fn commands_that_take_too_long_take_no_channel_from_others() {
    let server = Server::start();
    run(async {
        let remote = server.remote();
        for _ in 0..12 {
            let session = remote.session("box").await.unwrap();
            let late = session.exec("exec sleep 30", b"", Duration::from_millis(100)).await;
            assert!(matches!(late, Err(SshError::TimedOut(..))), "{late:?}");
        }
    });
}

#[test]
fn files_arrive_whole_or_not_at_all() {
    let server = Server::start();
    run(async {
        let remote = server.remote();
        // Leaked: the path of a wanted file is a constant in the program.
        let path: &'static str = server.parent.path().join("etc/it's here").display().to_string().leak();
        let content = Content::new(noise(3 << 20));
        let file = WantedFile { path, mode: 0o750, content: Some(content.clone()) };
        for _ in 0..2 {
            remote.put("box", &file, &content).await.unwrap();
        }
        assert!(std::fs::read(path).unwrap() == content.bytes()[..]);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o750);

        let session = remote.session("box").await.unwrap();
        let command = crate::install::put_command(&file, content.checksum());
        let out = session.exec(command, b"half", LIMIT).await.unwrap();
        assert_eq!((out.status, out.stderr.as_slice()), (1, &b"the file arrived damaged\n"[..]));
        assert!(std::fs::read(path).unwrap() == content.bytes()[..]);
    });
}

#[test]
fn facts_come_in_one_answer() {
    let server = Server::start();
    run(async {
        let facts = server.remote().facts("box").await.unwrap();
        assert!(facts.clock > 1_700_000_000, "{facts:?}");
    });
}

#[test]
fn another_host_key_is_refused_before_anything_is_sent() {
    let server = Server::start();
    run(async {
        let remote = server.remote();
        let error = remote.session("other").await.err().unwrap();
        let SshError::HostKey { expected, found } = &error else { panic!("{error}") };
        assert!(expected.starts_with("SHA256:") && found.starts_with("SHA256:") && expected != found);
        assert!(!error.is_retryable() && error.hint().is_some());
        let log = std::fs::read_to_string(server.parent.path().join("log")).unwrap();
        assert!(!log.contains("Accepted") && !log.contains("Failed"), "no login was tried: {log}");
        assert!(matches!(remote.session("unknown").await, Err(SshError::UnknownHost(_))));
        remote.session("box").await.unwrap();
    });
}

#[test]
fn another_operator_is_refused() {
    let server = Server::start();
    run(async {
        let dir = StateDir::new(server.parent.path().join("stranger"));
        let stranger = Vault::new(dir.clone());
        stranger.operator_line().unwrap();
        dir.put("hosts/box/ssh_host_ed25519_key", server.vault.host_key("box").unwrap().reveal()).unwrap();
        let remote = SshRemote::new(Arc::new(Loopback { port: server.port }), stranger);
        let error = remote.session("box").await.err().unwrap();
        assert!(matches!(error, SshError::Refused), "{error:?}");
    });
}

#[test]
fn a_broken_connection_is_noticed_and_opened_again() {
    let server = Server::start();
    run(async {
        let remote = server.remote();
        let session = remote.session("box").await.unwrap();
        // The parent of the command is the sshd of this connection.
        let broken = session.exec("kill -9 $PPID; sleep 30", b"", LIMIT).await;
        assert!(matches!(&broken, Err(error) if error.is_retryable()), "{broken:?}");
        let again = remote.session("box").await.unwrap().exec("echo again", b"", LIMIT).await.unwrap();
        assert_eq!(again.stdout, b"again\n");
    });
}
