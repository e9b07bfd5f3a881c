//! The local terminal: raw while a shell runs elsewhere, as it was before afterwards.

use std::io;
use std::mem::MaybeUninit;

use nix::libc;

/// Switches standard input to raw mode until dropped.
pub struct RawMode {
    before: libc::termios,
}

impl RawMode {
    /// Switches; fails when standard input is no terminal.
    pub fn enter() -> io::Result<RawMode> {
        let before = current()?;
        let mut raw = before;
        // SAFETY: cfmakeraw changes the struct it is given and nothing else.
        unsafe { libc::cfmakeraw(&mut raw) };
        set(&raw)?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _ = set(&self.before);
    }
}

/// Hides what is typed until dropped.
pub struct NoEcho {
    _mode: RawMode,
}

impl NoEcho {
    /// Switches; fails when standard input is no terminal.
    pub fn enter() -> io::Result<NoEcho> {
        let before = current()?;
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        set(&silent)?;
        Ok(NoEcho { _mode: RawMode { before } })
    }
}

fn current() -> io::Result<libc::termios> {
    let mut mode = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: tcgetattr fills the struct it is given, and its result says whether it has.
    unsafe {
        if libc::tcgetattr(libc::STDIN_FILENO, mode.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mode.assume_init())
    }
}

fn set(mode: &libc::termios) -> io::Result<()> {
    // SAFETY: tcsetattr reads the struct it is given.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Columns and rows of the terminal on standard input; 80 × 24 when it does not say.
pub fn window_size() -> (u32, u32) {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ fills the winsize it is given; all zeroes is a valid one.
    let size = unsafe {
        libc::ioctl(libc::STDIN_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr());
        size.assume_init()
    };
    match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => (80, 24),
        (columns, rows) => (columns.into(), rows.into()),
    }
}
