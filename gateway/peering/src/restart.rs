//! A restart that the other sides notice at once.
//!
//! A daemon that was killed knows nothing of its connections, but can still say so: the stateless reset (RFC 9000
//! §10.3) of a connection is derived from the identity, which survives. So the other side redials with the next
//! keep-alive instead of waiting for the idle timeout.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::HmacKey;
use quinn::{ConnectionId, ConnectionIdGenerator};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use ring::hmac;
use weave_trust::Identity;

/// Bytes of a connection id: enough that none is chosen twice by chance.
const ID_BYTES: usize = 8;

/// The key of the reset tokens of one peer, the same in every run.
pub(crate) fn reset_key(identity: &Identity) -> Arc<dyn HmacKey> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &identity.key_pkcs8());
    let derived = hmac::sign(&secret, b"weave quic stateless reset");
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
}

/// Connection ids of random bytes. Any may be one of a past run, so none is dismissed unseen, as the generator that
/// is quinn's default would do.
pub(crate) struct RandomIds(StdRng);

impl RandomIds {
    pub(crate) fn new() -> RandomIds {
        RandomIds(StdRng::from_os_rng())
    }
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
