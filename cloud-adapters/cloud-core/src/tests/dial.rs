//! The way to a host.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::{ProviderError, dial};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_port_that_listens_is_reached_and_one_that_does_not_may_be_later() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = Duration::from_secs(5);
    let (dialled, accepted) =
        tokio::join!(dial("aws-1", HERE, port, limit, "security group"), listener.accept());
    assert!(dialled.is_ok() && accepted.unwrap().1.ip() == HERE);
    drop(listener);
    let error = dial("aws-1", HERE, port, limit, "security group").await.err().unwrap();
    let ProviderError::Retryable(text) = error else { panic!("{error:?}") };
    assert!(text.starts_with(&format!("host aws-1 does not answer at 127.0.0.1:{port} (")), "{text}");
    assert!(text.ends_with("is not the one that its security group lets in"), "{text}");
}

#[tokio::test]
async fn silence_has_a_limit() {
    // A listener whose queue is full answers nothing; Linux takes one more than asked for.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = Duration::from_millis(300);
    let mut kept = Vec::new();
    let error = loop {
        match dial("aws-1", HERE, port, limit, "firewall rule").await {
            Ok(stream) => kept.push(stream),
            Err(error) => break error,
        }
        assert!(kept.len() < 64, "a listener that accepts nothing took {} streams", kept.len());
    };
    assert!(error.is_retryable() && error.to_string().contains("nothing within 0.3 s"), "{error:?}");
}
