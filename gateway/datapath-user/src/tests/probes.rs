//! The prober under virtual time: life, death, round trips and the search for the MTU.

use std::time::{Duration, Instant};

use crate::probes::{Life, Prober, Report, Transmit};

const MS: Duration = Duration::from_millis(1);
const OVERLAY: u16 = 1376;

/// A path with a delay that carries packets up to a size, or nothing at all.
struct Path {
    prober: Prober,
    now: Instant,
    start: Instant,
    rtt: Duration,
    widest: u16,
    open: bool,
    busy: bool,
    under_way: Vec<(Instant, u16)>,
    probes: usize,
    reports: Vec<(Duration, Report)>,
}

impl Path {
    fn new(rtt: Duration) -> Path {
        Path::with(rtt, true, Some(rtt))
    }

    fn with(rtt: Duration, neighbour: bool, hint: Option<Duration>) -> Path {
        let start = Instant::now();
        let prober = Prober::new(OVERLAY, neighbour, hint, start);
        let (under_way, reports) = (Vec::new(), Vec::new());
        Path {
            prober,
            now: start,
            start,
            rtt,
            widest: OVERLAY,
            open: true,
            busy: false,
            under_way,
            probes: 0,
            reports,
        }
    }

    /// Lets time pass, a millisecond a step, and drains after each input as the contract says.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += MS;
            let arrived: Vec<u16> =
                self.under_way.iter().filter(|(at, _)| *at <= self.now).map(|(_, s)| *s).collect();
            self.under_way.retain(|(at, _)| *at > self.now);
            for sequence in arrived {
                self.prober.handle_reply(sequence, self.now);
                self.drain();
            }
            if self.prober.poll_timeout() <= self.now {
                self.prober.handle_timeout(self.busy, self.now);
                self.drain();
            }
        }
    }

    fn drain(&mut self) {
        while let Some(Transmit { sequence, padded }) = self.prober.poll_transmit() {
            self.probes += 1;
            if self.open && padded.is_none_or(|size| size <= self.widest) {
                self.under_way.push((self.now + self.rtt, sequence));
            }
        }
        if let Some(report) = self.prober.poll_report(self.now) {
            self.reports.push((self.now - self.start, report));
        }
    }

    fn since(&self, cut: Instant, alive: bool) -> Duration {
        let (at, _) = self.reports.iter().rfind(|(_, r)| r.alive == alive).expect("a report");
        self.start + *at - cut
    }
}

#[test]
fn a_dead_neighbour_is_noticed_within_600_ms() {
    for busy in [false, true] {
        for offset in (0..250).step_by(7) {
            let mut path = Path::new(MS);
            path.busy = busy;
            path.run(Duration::from_secs(2) + Duration::from_millis(offset));
            assert_eq!(path.prober.life(), Life::Alive);
            path.open = false;
            let cut = path.now;
            path.run(Duration::from_secs(2));
            assert_eq!(path.prober.life(), Life::Dead);
            let limit = if busy { 420 } else { 600 };
            assert!(path.since(cut, false) <= limit * MS, "{:?}", path.since(cut, false));
            path.open = true;
            let mend = path.now;
            path.run(Duration::from_secs(1));
            assert!(path.since(mend, true) <= 300 * MS, "{:?}", path.since(mend, true));
        }
    }
}

#[test]
fn an_idle_neighbour_costs_few_packets() {
    let mut path = Path::new(MS);
    path.run(Duration::from_secs(100));
    assert!((390..=460).contains(&path.probes), "{} probes in 100 s", path.probes);
    assert_eq!(path.reports.len(), 2, "alive, then the MTU: {:?}", path.reports);
    let mut far = Path::with(MS, false, None);
    far.run(Duration::from_secs(100));
    assert!((100..=120).contains(&far.probes), "{} probes in 100 s", far.probes);
}

#[test]
fn slow_paths_are_not_taken_for_dead() {
    for rtt in [90 * MS, 300 * MS, 900 * MS] {
        for hint in [Some(rtt), None] {
            let mut path = Path::with(rtt, true, hint);
            path.run(Duration::from_secs(30));
            assert!(path.reports.iter().all(|(_, r)| r.alive), "{rtt:?} {hint:?}: {:?}", path.reports);
            assert_eq!(path.prober.mtu(), Some(OVERLAY));
            let found = path.prober.rtt().unwrap();
            assert!(found.abs_diff(rtt) <= 2 * MS, "{found:?}");
        }
    }
}

#[test]
fn two_losses_in_a_row_do_not_kill() {
    let mut path = Path::new(MS);
    path.run(Duration::from_secs(1));
    for _ in 0..20 {
        path.open = false;
        // Long enough for one idle probe and the one after its miss.
        path.run(200 * MS);
        path.open = true;
        path.run(Duration::from_secs(1));
    }
    assert!(path.reports.iter().all(|(_, r)| r.alive));
}

#[test]
fn the_mtu_is_searched_downward_and_tried_upward() {
    let mut path = Path::new(5 * MS);
    path.run(Duration::from_secs(3));
    assert_eq!(path.prober.mtu(), Some(OVERLAY));
    for widest in [1200, 600, 1300] {
        path.widest = widest;
        let downward = widest < path.prober.path_mtu();
        path.run(Duration::from_secs(if downward { 12 } else { 80 }));
        let found = path.prober.mtu().unwrap();
        assert!((widest - 8..=widest).contains(&found), "{found} of {widest}");
        assert_eq!(path.reports.last().unwrap().1.mtu, Some(found));
    }
    path.widest = OVERLAY;
    path.run(Duration::from_secs(80));
    assert_eq!(path.prober.mtu(), Some(OVERLAY));
    assert!(path.reports.iter().all(|(_, r)| r.alive), "sizes are no matter of life");
}

#[test]
fn a_refusal_by_the_kernel_needs_no_patience() {
    let start = Instant::now();
    let mut prober = Prober::new(OVERLAY, true, Some(MS), start);
    let mut now = start;
    for _ in 0..100 {
        now += 10 * MS;
        prober.handle_timeout(false, now);
        while let Some(Transmit { sequence, padded }) = prober.poll_transmit() {
            match padded {
                Some(size) if size > 900 => prober.handle_too_big(sequence, now),
                _ => prober.handle_reply(sequence, now),
            }
        }
    }
    let found = prober.mtu().unwrap();
    assert!((892..=900).contains(&found), "{found}");
}

#[test]
fn a_machine_that_pauses_is_no_dead_path() {
    let mut path = Path::new(MS);
    path.run(Duration::from_secs(1));
    for pause in [150, 400, 900, 2_000] {
        for _ in 0..20 {
            path.run(Duration::from_millis(60));
            // Nobody runs; then the timers do before the answers are read.
            path.now += Duration::from_millis(pause);
            for _ in 0..3 {
                path.prober.handle_timeout(path.busy, path.now);
                path.drain();
            }
        }
    }
    assert!(path.reports.iter().all(|(_, r)| r.alive), "{:?}", path.reports);
    path.open = false;
    path.run(Duration::from_secs(1));
    assert_eq!(path.prober.life(), Life::Dead);
}

#[test]
fn loss_is_not_taken_for_narrowness() {
    let mut path = Path::new(MS);
    path.run(Duration::from_secs(1));
    for round in 0..400 {
        // A third of the time nothing passes at all.
        path.open = round % 3 != 0;
        path.run(Duration::from_millis(130));
    }
    path.open = true;
    path.run(Duration::from_secs(1));
    assert_eq!(path.prober.mtu(), Some(OVERLAY));
}

#[test]
fn reports_of_round_trips_are_rare() {
    let mut path = Path::new(10 * MS);
    path.run(Duration::from_secs(5));
    let before = path.reports.len();
    path.rtt = 11 * MS;
    path.run(Duration::from_secs(10));
    assert_eq!(path.reports.len(), before);
    path.rtt = 40 * MS;
    path.run(Duration::from_secs(10));
    let after = &path.reports[before..];
    assert!(!after.is_empty() && after.len() <= 8, "{after:?}");
    assert!(after.windows(2).all(|pair| pair[1].0 - pair[0].0 >= Duration::from_secs(1)));
}
