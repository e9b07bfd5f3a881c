//! Which packets pass between the sites.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use netlab::{Cable, Error, Lab, Nat, Place, Topology};

use crate::{TestLab, at_host, ensure, pings};

/// Longer than any packet here is under way, short enough to wait for one that does not come.
const LIMIT: Duration = Duration::from_millis(1500);

const AWS_1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 17);
const GCP_1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 33);
const ONPREM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 48);

fn udp(lab: &Lab, place: &Place, port: u16) -> UdpSocket {
    let socket = lab.within(place, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

fn tcp(lab: &Lab, place: &Place, port: u16) -> TcpListener {
    lab.within(place, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap()
}

fn dials(lab: &Lab, from: &Place, to: Ipv4Addr, port: u16) -> bool {
    match lab.connect(from, SocketAddr::from((to, port)), LIMIT) {
        Ok(_) => true,
        Err(Error::Timeout(_) | Error::Failed(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// The source that `to` sees of what `from` sends it, if it arrives.
fn seen(from: &UdpSocket, to: &UdpSocket, address: Ipv4Addr) -> Option<SocketAddr> {
    from.send_to(b"hello", (address, to.local_addr().unwrap().port())).unwrap();
    let mut buffer = [0; 16];
    match to.recv_from(&mut buffer) {
        Ok((_, source)) => Some(source),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_security_group_lets_gateways_in_and_ssh_from_the_operator_alone() {
    let lab = TestLab::new("group", Topology::Full).fill(&[("aws", 2), ("gcp", 1)]);
    let (aws, gcp) = (at_host("aws-1"), at_host("gcp-1"));
    assert!(dials(&lab, &Place::Operator, AWS_1, 22));
    assert!(!dials(&lab, &gcp, AWS_1, 22));
    let _service = (tcp(&lab, &aws, 6783), tcp(&lab, &aws, 6784));
    assert!(dials(&lab, &gcp, AWS_1, 6783));
    assert!(!dials(&lab, &gcp, AWS_1, 6784));

    let client = udp(&lab, &gcp, 5000);
    for (port, passes) in [(6783, true), (6784, true), (6785, false), (53, false)] {
        let source = seen(&client, &udp(&lab, &aws, port), AWS_1);
        assert_eq!(source, passes.then(|| SocketAddr::from((GCP_1, 5000))), "udp {port}");
    }
    // A neighbour that goes by the public address comes from its own.
    let neighbour = udp(&lab, &at_host("aws-2"), 5000);
    let source = seen(&neighbour, &udp(&lab, &aws, 6783), AWS_1);
    assert_eq!(source, Some(SocketAddr::from(([203, 0, 113, 18], 5000))));
}

#[test]
fn a_masquerade_is_dialled_out_of_alone() {
    let lab = TestLab::new("masq", Topology::Partial).fill(&[("aws", 1), ("gcp", 0), ("onprem", 2)]);
    let (aws, first, second) = (at_host("aws-1"), at_host("onprem-1"), at_host("onprem-2"));
    let outside = udp(&lab, &aws, 6783);
    let insiders = [(udp(&lab, &first, 6783), 6783..=10782), (udp(&lab, &second, 6783), 10783..=14782)];
    // Nothing has gone out yet: nothing comes in.
    assert_eq!(seen(&outside, &insiders[0].0, ONPREM), None);
    for (inside, ports) in &insiders {
        let source = seen(inside, &outside, AWS_1).expect("dial-out passes");
        assert_eq!(source.ip(), ONPREM);
        assert!(ports.contains(&source.port()), "{source}");
        // The answer finds its way, from nowhere else.
        outside.send_to(b"answer", source).unwrap();
        assert_eq!(inside.recv_from(&mut [0; 16]).unwrap().1, SocketAddr::from((AWS_1, 6783)));
        let stranger = udp(&lab, &Place::Operator, 7000);
        stranger.send_to(b"stranger", source).unwrap();
        assert_eq!(inside.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The first host keeps its port, so two gateways can predict each other.
        if *ports.start() == 6783 {
            assert_eq!(source.port(), 6783);
        }
    }
    for port in [22, 2201, 6783] {
        assert!(!dials(&lab, &aws, ONPREM, port), "{port}");
    }
    assert!(dials(&lab, &Place::Operator, ONPREM, 2201));
    assert!(!dials(&lab, &Place::Operator, ONPREM, 6783));
    // Neither are the private addresses routed.
    assert!(!pings(&lab, &aws, "10.3.0.11"));
    assert!(!pings(&lab, &Place::Operator, "10.3.0.11"));
}

#[test]
fn a_masquerade_is_of_the_kind_it_is_told_to_be() {
    let lab = TestLab::new("kinds", Topology::Partial).fill(&[("aws", 1), ("gcp", 0), ("onprem", 2)]);
    let mut kinds = vec![Nat::Full, Nat::Address, Nat::Port, Nat::Symmetric, Nat::Blocked];
    // Back to the first one: what later kinds remember must be gone.
    kinds.push(Nat::Port);
    for nat in kinds {
        lab.set_nat("onprem", nat).unwrap();
        assert_eq!(lab.status().unwrap().sites["onprem"].nat, Some(nat));
        let inside = udp(&lab, &at_host("onprem-1"), 6783);
        // A neighbour with the same port must not change anything.
        let neighbour = udp(&lab, &at_host("onprem-2"), 6783);
        let server = udp(&lab, &Place::Operator, 7000);
        let seen_twin = seen(&neighbour, &server, netlab::OPERATOR);
        let first = seen(&inside, &server, netlab::OPERATOR);
        if nat == Nat::Blocked {
            assert_eq!((first, seen_twin), (None, None));
            // TCP is not.
            let _service = tcp(&lab, &Place::Operator, 7000);
            assert!(dials(&lab, &at_host("onprem-1"), netlab::OPERATOR, 7000));
            continue;
        }
        let first = first.unwrap();
        assert_ne!(first, seen_twin.unwrap());
        let gets_in = |stranger: &UdpSocket| {
            stranger.send_to(b"stranger", first).unwrap();
            inside.recv(&mut [0; 16]).is_ok()
        };
        let other_port = gets_in(&udp(&lab, &Place::Operator, 7001));
        let other_address = gets_in(&udp(&lab, &Place::Router("aws".to_owned()), 7000));
        let second = seen(&inside, &udp(&lab, &at_host("aws-1"), 6783), AWS_1).unwrap();
        assert_eq!(first == second, nat != Nat::Symmetric, "{nat:?}");
        assert_eq!(other_port, matches!(nat, Nat::Full | Nat::Address), "{nat:?}");
        assert_eq!(other_address, nat == Nat::Full, "{nat:?}");
    }
    assert!(matches!(lab.set_nat("aws", Nat::Port), Err(Error::Invalid(_))));
}

#[test]
fn partial_keeps_aws_and_gcp_apart_and_full_does_not() {
    let lab = TestLab::new("topology", Topology::Partial).fill(&[("aws", 1), ("gcp", 1), ("onprem", 1)]);
    let (aws, gcp, onprem) = (at_host("aws-1"), at_host("gcp-1"), at_host("onprem-1"));
    let (to_aws, to_gcp) = (AWS_1.to_string(), GCP_1.to_string());
    assert!(!pings(&lab, &aws, &to_gcp));
    assert!(!pings(&lab, &gcp, &to_aws));
    assert!(pings(&lab, &onprem, &to_aws));
    assert!(pings(&lab, &onprem, &to_gcp));

    ensure(&lab.name, Topology::Full);
    assert_eq!(lab.status().unwrap().topology, Topology::Full);
    assert!(pings(&lab, &aws, &to_gcp));
    assert!(pings(&lab, &gcp, &to_aws));
}

#[test]
fn a_cut_drops_packets_without_a_carrier_loss_and_heals() {
    let lab = TestLab::new("cut", Topology::Full).fill(&[("aws", 2), ("gcp", 1)]);
    let (aws, gcp) = (at_host("aws-1"), at_host("gcp-1"));
    let (to_aws, to_gcp) = (AWS_1.to_string(), GCP_1.to_string());
    for (cable, to_neighbour) in
        [(Cable::between("gcp", "aws"), true), (Cable::of("gcp"), true), (Cable::of("aws-1"), false)]
    {
        assert!(pings(&lab, &gcp, &to_aws), "{cable:?}");
        lab.cut(cable.clone()).unwrap();
        lab.cut(cable.clone()).unwrap();
        assert!(!pings(&lab, &gcp, &to_aws), "{cable:?}");
        assert!(!pings(&lab, &aws, &to_gcp), "{cable:?}");
        assert_eq!(pings(&lab, &aws, "10.1.0.12"), to_neighbour, "{cable:?}");
        let carrier = lab.exec(&aws, &["cat", "/sys/class/net/eth0/carrier"]).unwrap();
        assert_eq!(carrier.stdout, b"1\n");
        lab.heal(cable.clone()).unwrap();
        lab.heal(cable).unwrap();
    }
    assert!(pings(&lab, &gcp, &to_aws));
    assert!(matches!(lab.cut(Cable::between("aws", "nowhere")), Err(Error::NotFound(_))));
    assert!(matches!(lab.cut(Cable::of("nobody")), Err(Error::NotFound(_))));
}

#[test]
fn two_labs_do_not_meet_though_their_addresses_do() {
    let one = TestLab::new("one", Topology::Partial).fill(&[("aws", 1)]);
    let two = TestLab::new("two", Topology::Partial).fill(&[("aws", 1)]);
    let (host, other) = (at_host("aws-1"), udp(&two, &Place::Operator, 6783));
    assert_eq!(seen(&udp(&one, &host, 5000), &other, netlab::OPERATOR), None);
    assert!(seen(&udp(&two, &host, 5000), &other, netlab::OPERATOR).is_some());
    netlab::down(&one.name).unwrap();
    assert!(dials(&two, &Place::Operator, AWS_1, 22));
}
