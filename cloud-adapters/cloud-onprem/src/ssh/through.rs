//! A command or a shell joined to local streams, byte for byte in both directions.

use russh::client::Msg;
use russh::{ChannelMsg, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::SshError;
use super::session::{CLOSE_LIMIT, Session};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A line of shell.
    Exec(Vec<u8>),
    /// The login shell without a terminal.
    Shell,
    /// The login shell on a terminal of this kind.
    Terminal(String),
}

/// The local ends.
pub struct Streams<R, W, E> {
    /// What the command reads; its end is passed on.
    pub stdin: R,
    /// Where its standard output goes.
    pub stdout: W,
    /// Where its standard error goes.
    pub stderr: E,
    /// Columns and rows of the local terminal, for a shell on one.
    pub size: watch::Receiver<(u32, u32)>,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit status.
    Exit(u8),
    /// By this signal.
    Signal(u8),
    /// Nobody reads its output any more.
    Unread,
}

impl Ending {
    /// The exit status by which a shell would report it.
    pub fn status(self) -> u8 {
        match self {
            Ending::Exit(status) => status,
            Ending::Signal(number) => 128_u8.saturating_add(number),
            Ending::Unread => 128 + 13,
        }
    }
}

impl Session {
    /// Runs `request` until it ends, whatever the other end or the local streams do first.
    pub async fn through<R, W, E>(
        &self,
        request: Request,
        streams: Streams<R, W, E>,
    ) -> Result<Ending, SshError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let (mut reader, writer) = self.handle.channel_open_session().await?.split();
        let Streams { mut stdin, mut stdout, mut stderr, mut size } = streams;
        let run = async {
            match request {
                Request::Exec(command) => writer.exec(true, command).await?,
                Request::Shell => writer.request_shell(true).await?,
                Request::Terminal(kind) => {
                    let (columns, rows) = *size.borrow_and_update();
                    writer.request_pty(true, &kind, columns, rows, 0, 0, &[]).await?;
                    writer.request_shell(true).await?;
                }
            }
            let drain = async {
                let mut ending = None;
                while let Some(message) = reader.wait().await {
                    let written = match message {
                        ChannelMsg::Data { data } => put(&mut stdout, &data).await,
                        ChannelMsg::ExtendedData { data, ext: 1 } => put(&mut stderr, &data).await,
                        ChannelMsg::ExitStatus { exit_status } => {
                            ending = Some(Ending::Exit((exit_status & 0xff) as u8));
                            Ok(true)
                        }
                        ChannelMsg::ExitSignal { signal_name, .. } => {
                            ending = Some(Ending::Signal(signal_number(&signal_name)));
                            Ok(true)
                        }
                        ChannelMsg::Failure => return Err(SshError::ExecRefused),
                        _ => Ok(true),
                    };
                    if !written? {
                        return Ok(Ending::Unread);
                    }
                }
                ending.ok_or(SshError::Lost)
            };
            tokio::select! {
                ending = drain => ending,
                error = feed(&mut stdin, &writer) => Err(error),
                () = resize(&mut size, &writer) => Err(SshError::Lost),
            }
        };
        let ending = run.await;
        let _ = timeout(CLOSE_LIMIT, writer.close()).await;
        ending
    }
}

/// Passes input on, and its end; returns only when the input cannot be read.
async fn feed<R: AsyncRead + Unpin>(stdin: &mut R, writer: &ChannelWriteHalf<Msg>) -> SshError {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) => {
                let _ = writer.eof().await;
                break;
            }
            // A channel that takes no more has ended or is about to say how.
            Ok(n) => {
                if writer.data(&buffer[..n]).await.is_err() {
                    break;
                }
            }
            Err(error) => return SshError::Local(error),
        }
    }
    std::future::pending().await
}

async fn resize(size: &mut watch::Receiver<(u32, u32)>, writer: &ChannelWriteHalf<Msg>) {
    while size.changed().await.is_ok() {
        let (columns, rows) = *size.borrow_and_update();
        if writer.window_change(columns, rows, 0, 0).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Writes all; `false` when nobody reads any more.
async fn put<W: AsyncWrite + Unpin>(out: &mut W, bytes: &[u8]) -> Result<bool, SshError> {
    let written = match out.write_all(bytes).await {
        Ok(()) => out.flush().await,
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(SshError::Local(error)),
    }
}

/// The number of a signal on Linux (signal(7)); 127 for one that has no name in the protocol (RFC 4254 §6.10).
pub(super) fn signal_number(signal: &Sig) -> u8 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "TRAP" => 5,
            "BUS" => 7,
            "USR2" => 12,
            "SYS" => 31,
            _ => 127,
        },
    }
}
