//! What happens around a thread: a panic costs the packets in hand, an error ends the thread and is told to the owner.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::shared::Shared;

/// The pause after a first panic.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: what panics again and again may not take the processor and the log, and may not be silent either.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After so long without a panic the next one is a first one.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Runs `drive` until it ends by itself.
///
/// A panic is our fault and costs the packets in hand, never the threads (invariant: remote input does not end the
/// gateway). What it leaves behind are buffers that the next packet overwrites. An error is the environment's and
/// nothing that a thread can mend: without it packets stay where they are, so the owner has to know.
pub(crate) fn supervise(label: &str, shared: &Shared, mut drive: impl FnMut() -> io::Result<()>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let since = shared.clock.now().instant;
        match catch_unwind(AssertUnwindSafe(&mut drive)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(thread = label, %error, "a datapath thread has ended");
                return (shared.ended)(error);
            }
            Err(_) => {
                shared.panics.fetch_add(1, Ordering::Relaxed);
                if shared.clock.now().instant.saturating_duration_since(since) > FORGIVEN {
                    pause = FIRST_PAUSE;
                }
                tracing::error!(thread = label, ?pause, "a datapath thread panicked and goes on");
                wait(shared, pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Waits, but not beyond the end of the datapath.
fn wait(shared: &Shared, pause: Duration) {
    let mut fds = [PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN)];
    // A signal or an error shortens the pause, no more.
    let _ = poll(&mut fds, PollTimeout::from(pause.as_millis() as u16));
}
