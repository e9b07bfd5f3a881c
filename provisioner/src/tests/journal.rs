//! The journal survives being cut anywhere.

use crate::journal::{Journal, Recovery, recover};

fn write_run(path: &std::path::Path) -> Vec<u8> {
    let (journal, before) = Journal::open(path, "up").unwrap();
    assert_eq!(before, Recovery::default());
    journal.begin("create host aws-1 in aws").unwrap();
    journal.begin("create host gcp-1 in gcp").unwrap();
    journal.finish("create host aws-1 in aws", None).unwrap();
    journal.finish("create host gcp-1 in gcp", Some("throttled".to_owned())).unwrap();
    journal.begin("aws-1: restart weave-gateway").unwrap();
    journal.finish("aws-1: restart weave-gateway", None).unwrap();
    journal.end("up").unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn every_prefix_can_be_opened_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let whole = write_run(&dir.path().join("whole"));
    for cut in 0..=whole.len() {
        let path = dir.path().join("cut");
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (journal, recovery) = Journal::open(&path, "down").unwrap();
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let expected: &[&str] = match lines {
            2 => &["create host aws-1 in aws"],
            3 => &["create host aws-1 in aws", "create host gcp-1 in gcp"],
            4 => &["create host gcp-1 in gcp"],
            6 => &["aws-1: restart weave-gateway"],
            _ => &[],
        };
        assert_eq!(recovery.open_steps, expected, "cut at byte {cut}");
        assert_eq!(recovery.interrupted.is_some(), (1..=7).contains(&lines), "cut at byte {cut}");
        journal.end("down").unwrap();
        // What was written behind the cut is whole again.
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(recover(&bytes), (Recovery::default(), bytes.len()), "cut at byte {cut}");
    }
}

#[test]
fn foreign_bytes_end_the_reading_without_a_panic() {
    let (recovery, good) = recover(b"\xff\xfe\n{\"at\":1,\"event\":\"run\",\"step\":\"up\"}\n");
    assert_eq!((recovery, good), (Recovery::default(), 0));
}

#[test]
fn a_large_journal_of_finished_runs_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let line = "{\"at\":1,\"event\":\"end\",\"step\":\"up\"}\n";
    std::fs::write(&path, line.repeat((1 << 20) / line.len() + 1)).unwrap();
    drop(Journal::open(&path, "up").unwrap());
    assert!(std::fs::metadata(&path).unwrap().len() < 100);
}
