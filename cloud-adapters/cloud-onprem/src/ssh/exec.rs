//! Commands whose output is collected.

use std::time::Duration;

use russh::ChannelMsg;
use tokio::time::timeout;

use super::error::SshError;
use super::session::{CLOSE_LIMIT, Session};
use super::through::signal_number;

/// More than any command of ours says; a host that says more is not ours.
const MOST_OUTPUT: usize = 16 << 20;

/// What a command said and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 and the number for a signal.
    pub status: u8,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Session {
    /// Runs a line of shell as root, by whatever makes the account root; else like [`Session::exec`].
    pub async fn exec_as_root(
        &self,
        command: &str,
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Output, SshError> {
        let prologue = self.elevation.prologue();
        let command = self.elevation.wrap(command);
        if prologue.reveal().is_empty() {
            return self.exec(command, stdin, limit).await;
        }
        let input = [prologue.reveal().as_bytes(), stdin].concat();
        self.exec(command, &input, limit).await
    }

    /// Runs a line of shell, feeds it `stdin` to the end, and collects what it says.
    ///
    /// Input is fed and output drained at once, and the channel is closed on every way out: one undrained channel stalls
    /// the whole connection, one unclosed channel takes one of the ten that sshd allows (sshd_config(5), MaxSessions).
    /// A command that exceeds `limit` ends the connection.
    pub async fn exec(
        &self,
        command: impl Into<Vec<u8>>,
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Output, SshError> {
        let late = |_| SshError::TimedOut("the command", limit.as_secs());
        let channel = timeout(limit, self.handle.channel_open_session()).await.map_err(late)??;
        let (mut reader, writer) = channel.split();
        let run = async {
            writer.exec(true, command).await?;
            let feed = async {
                // A command that does not read its input to the end is free not to.
                if writer.data(stdin).await.is_ok() {
                    let _ = writer.eof().await;
                }
                std::future::pending::<()>().await;
            };
            let drain = async {
                let mut output = Output::default();
                let mut status = None;
                while let Some(message) = reader.wait().await {
                    match message {
                        ChannelMsg::Data { data } => output.stdout.extend_from_slice(&data),
                        ChannelMsg::ExtendedData { data, ext: 1 } => output.stderr.extend_from_slice(&data),
                        // Output may still follow.
                        ChannelMsg::ExitStatus { exit_status } => status = Some((exit_status & 0xff) as u8),
                        ChannelMsg::ExitSignal { signal_name, .. } => {
                            status = Some(128 + signal_number(&signal_name));
                        }
                        ChannelMsg::Failure => return Err(SshError::ExecRefused),
                        _ => {}
                    }
                    if output.stdout.len() + output.stderr.len() > MOST_OUTPUT {
                        return Err(SshError::TooMuch(MOST_OUTPUT));
                    }
                }
                output.status = status.ok_or(SshError::Lost)?;
                Ok(output)
            };
            tokio::select! {
                () = feed => Err(SshError::Lost),
                output = drain => output,
            }
        };
        let outcome = timeout(limit, run).await;
        let _ = timeout(CLOSE_LIMIT, writer.close()).await;
        if outcome.is_err() {
            // sshd lets a command without a terminal run on and keeps its channel taken; only a new connection starts
            // from a clean slate.
            self.close().await;
        }
        outcome.map_err(late)?
    }
}
