//! This process's own streams for a runtime: read and written on threads that may block.
//!
//! Like ssh(1), it never changes the streams' flags, because other processes share them: where one is non-blocking
//! (a shell script's pipe set so by its parent), it is waited for with poll(2).

use std::fs::File;
use std::future::Future as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// What one blocking call moves at most.
const CHUNK: usize = 64 << 10;

/// One end of a local stream.
pub struct Local {
    file: Arc<File>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    writing: Option<JoinHandle<io::Result<()>>>,
    /// What was read and not taken yet.
    rest: Vec<u8>,
}

impl Local {
    /// Shares a stream, beside whatever buffer the standard library has for it.
    pub fn new(stream: &impl AsFd) -> io::Result<Local> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Local { file: Arc::new(file), reading: None, writing: None, rest: Vec::new() })
    }

    /// Waits until the last write has happened.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let outcome = ready!(Pin::new(writing).poll(context)).map_err(io::Error::other);
        self.writing = None;
        Poll::Ready(outcome.flatten())
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let file = self.file.clone();
            let reading = self.reading.get_or_insert_with(|| spawn_blocking(move || read(&file)));
            let outcome = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other);
            self.reading = None;
            self.rest = outcome.flatten()?;
        }
        let taken = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..taken]);
        self.rest.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(context))?;
        let chunk = bytes[..bytes.len().min(CHUNK)].to_vec();
        let length = chunk.len();
        let file = self.file.clone();
        self.writing = Some(spawn_blocking(move || write(&file, &chunk)));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn read(mut file: &File) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(error) => wait(file, PollFlags::POLLIN, error)?,
        }
    }
}

fn write(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) => wait(file, PollFlags::POLLOUT, error)?,
        }
    }
    Ok(())
}

/// Waits for a stream that would block; any other error stands.
fn wait(file: &File, what: PollFlags, error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => match poll(&mut [PollFd::new(file.as_fd(), what)], PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        },
        _ => Err(error),
    }
}
