//! From a password to the key of a network.

use argon2::{Algorithm, Argon2, Params, Version};
use weave_model::NetworkName;

/// The password is too easy to guess: whoever guesses it joins the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the network password is too weak: about 10^{found} guesses find it, 10^{MIN_GUESSES_LOG10} are asked; use 16 random \
     characters or six random words"
)]
pub struct WeakPassword {
    /// Decimal order of the estimated number of guesses.
    pub found: u32,
}

/// A guess costs about a tenth of a second of one core and 64 MiB, so 10^12 guesses cost 3,000 core-years.
const MIN_GUESSES_LOG10: u32 = 12;

/// zxcvbn slows with length; nothing behind this makes a strong password weak.
const ESTIMATED_PREFIX: usize = 64;

pub(crate) fn refuse_weak(password: &str) -> Result<(), WeakPassword> {
    let head: String = password.chars().take(ESTIMATED_PREFIX).collect();
    let found = zxcvbn::zxcvbn(&head, &["weave"]).guesses_log10();
    if found < f64::from(MIN_GUESSES_LOG10) {
        // Lossless enough for people; the estimate is finite and never negative.
        return Err(WeakPassword { found: found.max(0.0) as u32 });
    }
    Ok(())
}

/// Argon2id with the second recommended option of RFC 9106 §4 (64 MiB, 3 passes), in one lane because one thread runs it.
///
/// The salt is fixed for a network's name: its peers share nothing but that and the password.
pub(crate) fn stretch(network: &NetworkName, password: &str) -> [u8; 32] {
    let params = Params::new(64 * 1024, 3, 1, Some(32)).expect("constants within RFC 9106 §3.1");
    let salt = format!("weave network password v1 {network}");
    let mut seed = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt.as_bytes(), &mut seed)
        .expect("lengths within RFC 9106 §3.1");
    seed
}
