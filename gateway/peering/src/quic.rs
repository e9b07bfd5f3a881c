//! How QUIC is set: small, quiet, and recognisable among the other datagrams of the shared port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use weave_trust::Identity;

use crate::error::PeeringError;
use crate::port::{MAX_DATAGRAM, Port};
use crate::restart::{self, RandomIds};
use crate::tls::{self, Credentials};

/// A link without traffic stays alive by one small datagram a second.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Silence after which a link is given up. QUIC only cleans up: the probes of the data path decide failover.
const IDLE_TIMEOUT_MS: u32 = 4_000;

/// The first guess of the round trip. With the default of 333 ms the first retransmission comes after a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Bytes in flight each way of one link, which is also what a neighbour that does not read makes us keep. The records
/// of a thousand peers pass in half a second even at a round trip of 100 ms.
const WINDOW: u32 = 256 << 10;

/// Path MTU discovery stops here: 1,500 less IPv6 and UDP headers.
const MTU_UPPER_BOUND: u16 = 1452;

/// Strangers' handshakes that wait to be accepted, and what they may make us buffer, one and all.
const MAX_INCOMING: usize = 256;
const INCOMING_BUFFER: u64 = 64 << 10;
const INCOMING_BUFFERS: u64 = 4 << 20;

/// Opens QUIC, both roles, on the shared port. Needs a tokio runtime. The credentials may be renewed, the key not.
pub(crate) fn endpoint(
    port: Arc<Port>,
    identity: &Identity,
    credentials: &Arc<Credentials>,
) -> Result<Endpoint, PeeringError> {
    let (client, server) = tls::configs(credentials).map_err(PeeringError::Tls)?;
    let transport = Arc::new(transport());

    let crypto = QuicServerConfig::try_from(server).expect("ring has the initial cipher suite");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(transport.clone())
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);

    let crypto = QuicClientConfig::try_from(client).expect("ring has the initial cipher suite");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);

    let mut config = EndpointConfig::new(restart::reset_key(identity));
    config.cid_generator(|| Box::new(RandomIds::new()));
    // The shared port tells QUIC by this bit (RFC 9287 would let peers clear it).
    config.grease_quic_bit(false);
    config.max_udp_payload_size(MAX_DATAGRAM as u16).expect("above QUIC's minimum of 1,200");

    let mut endpoint = Endpoint::new_with_abstract_socket(config, Some(server), port, Arc::new(TokioRuntime))
        .map_err(PeeringError::Socket)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Starts a handshake with the peer at an address.
pub(crate) fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Result<quinn::Connecting, quinn::ConnectError> {
    endpoint.connect(address, tls::SERVER_NAME)
}

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_UPPER_BOUND);
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .send_window(u64::from(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .max_concurrent_uni_streams(VarInt::from_u32(16))
        .datagram_receive_buffer_size(None);
    transport
}
