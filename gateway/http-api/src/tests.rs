//! A real server on loopback in front of a scripted node.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weave_api::{Client, ClientError, Connection, ConnectionState, PathKind, PingReport, Report, Router};

use crate::{Command, Refused, serve};

fn report() -> Report {
    Report {
        ready: true,
        router: Router {
            nick_name: "one".to_owned(),
            connections: vec![Connection {
                address: "192.0.2.2:6783".to_owned(),
                outbound: true,
                state: ConnectionState::Established,
                info: "two".to_owned(),
                attrs: BTreeMap::new(),
            }],
            targets: vec!["192.0.2.2".to_owned(), "192.0.2.3".to_owned()],
            drops: BTreeMap::from([("malformed".to_owned(), 3)]),
            ..Router::default()
        },
        ..Report::default()
    }
}

/// Answers every command and notes those that change something.
async fn node(mut commands: mpsc::Receiver<Command>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(command) = commands.recv().await {
        let _ = match command {
            Command::Report(reply) => reply.send(Ok(report())).is_ok(),
            Command::Connect { targets, replace, reply } => {
                seen.push(format!("connect {targets:?} {replace}"));
                reply.send(Ok(())).is_ok()
            }
            Command::Forget { targets, reply } => {
                seen.push(format!("forget {targets:?}"));
                reply.send(Ok(())).is_ok()
            }
            Command::Expose(cidr, reply) => {
                seen.push(format!("expose {cidr}"));
                reply.send(Ok(())).is_ok()
            }
            Command::Hide(cidr, reply) => {
                reply.send(Err(Refused::Failed(format!("{cidr} is not exposed")))).is_ok()
            }
            Command::Ping { peer, count, reply } => {
                let line = PingReport {
                    peer,
                    nickname: "two".to_owned(),
                    path: PathKind::Direct,
                    via: Vec::new(),
                    sent: count,
                    received: count,
                    rtt_ms: Some(0.5),
                    mtu: Some(1376),
                    ok: true,
                };
                reply.send(Ok(vec![line])).is_ok()
            }
            Command::RemovePeer { peer, reply } => {
                let alive = || Refused::Conflict(format!("{peer} is alive"));
                let unknown = || Refused::Unknown(format!("no peer is called '{peer}'"));
                let outcome = match peer.as_str() {
                    "two" => Err(alive()),
                    "aws/1 ä" => Ok(7),
                    _ => Err(unknown()),
                };
                seen.push(format!("remove {peer}"));
                reply.send(outcome).is_ok()
            }
            Command::Stop(reply) => {
                seen.push("stop".to_owned());
                reply.send(Ok(())).is_ok()
            }
        };
    }
    seen
}

/// Runs `script` against a server; returns what the node was asked to change.
fn with_server(script: impl FnOnce(Client) + Send + 'static) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (commands, inbox) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, commands, async {
            let _ = stopped.await;
        }));
        let node = tokio::spawn(node(inbox));
        let client = Client::new(&address, Duration::from_secs(10));
        tokio::task::spawn_blocking(move || script(client)).await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        node.await.unwrap()
    })
}

#[test]
fn the_report_comes_as_text_json_template_and_metrics() {
    with_server(|client| {
        assert!(client.text("/status").unwrap().contains("  Connections: 1 (1 established)\n"));
        assert_eq!(client.text("/status/targets").unwrap(), "192.0.2.2\n192.0.2.3\n");
        assert!(matches!(client.text("/status/dns9"), Err(ClientError::Refused { status: 404, .. })));
        assert_eq!(client.value::<Report>("/report").unwrap(), report());
        let template = |format: &str| client.text(&format!("/report?format={format}"));
        assert_eq!(template("{{.Router.NickName}}%20{{len%20.Router.Targets}}").unwrap(), "one 2");
        assert_eq!(template("{{range%20.Router.Targets}}[{{.}}]{{end}}").unwrap(), "[192.0.2.2][192.0.2.3]");
        assert_eq!(template("{{json%20.Router.Targets}}").unwrap(), r#"["192.0.2.2","192.0.2.3"]"#);
        assert!(matches!(template("{{.Router"), Err(ClientError::Refused { status: 400, .. })));
        let metrics = client.text("/metrics").unwrap();
        assert!(metrics.contains("weave_connections{state=\"established\"} 1\n"), "{metrics}");
        assert!(metrics.contains("weave_drops_total{reason=\"malformed\"} 3\n"), "{metrics}");
    });
}

#[test]
fn changes_reach_the_node_and_mistakes_come_back() {
    let seen = with_server(|client| {
        let peer = |text: &str| ("peer", text.to_owned());
        client.post("/connect", &[peer("192.0.2.9"), ("replace", "true".to_owned())]).unwrap();
        let error = client.post("/connect", &[peer("192.0.2.9"), peer("a b")]).unwrap_err();
        assert_eq!(error.to_string(), "'a b' is not a host name or an IP address");
        client.post("/forget", &[peer("192.0.2.9")]).unwrap();
        client.post("/forget?peer=192.0.2.8", &[peer("192.0.2.9")]).unwrap();
        client.post("/expose/10.2.1.1/24", &[]).unwrap();
        assert!(client.post("/expose/10.2.1/24", &[]).is_err());
        assert_eq!(
            client.delete("/expose/10.2.1.1/24").unwrap_err().to_string(),
            "10.2.1.1/24 is not exposed"
        );
        let lines: Vec<PingReport> = client.value("/ping?peer=two&count=4").unwrap();
        assert_eq!((lines[0].sent, lines[0].ok), (4, true));
        let taken = client.delete("/peer/aws%2F1%20%C3%A4").unwrap();
        assert_eq!(taken, "7 IPs taken over from aws/1 ä\n");
        for (peer, status, reason) in [("two", 409, "two is alive"), ("x", 404, "no peer is called 'x'")] {
            let refused = client.delete(&format!("/peer/{peer}")).unwrap_err();
            assert!(matches!(refused, ClientError::Refused { status: s, .. } if s == status), "{refused:?}");
            assert_eq!(refused.to_string(), reason);
        }
        client.delete("/process").unwrap();
    });
    let expected = [
        "connect [192.0.2.9] true",
        "connect [192.0.2.9] false",
        "forget [192.0.2.9]",
        "forget [192.0.2.8, 192.0.2.9]",
        "expose 10.2.1.1/24",
        "remove aws/1 ä",
        "remove two",
        "remove x",
        "stop",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn nobody_there_is_said_so() {
    // Port 1 of the loopback is nobody's.
    let error = Client::new("127.0.0.1:1", Duration::from_secs(5)).text("/status").unwrap_err();
    assert_eq!(error.to_string(), "no gateway answers on http://127.0.0.1:1");
}
