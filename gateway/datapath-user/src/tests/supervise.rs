//! Threads that panic or fail.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weave_switch::Switch;

use crate::session::Keys;
use crate::shared::Shared;
use crate::supervise::supervise;

/// What the owner was told.
type Told = Arc<Mutex<Vec<String>>>;

fn shared() -> (Shared, Told) {
    let told = Told::default();
    let keys = Keys::new([1; 32], [2; 32], 1376);
    let switch = Arc::new(Switch::new(weave_switch::Config::default()));
    let ended = {
        let told = told.clone();
        Box::new(move |error: io::Error| told.lock().unwrap().push(error.to_string()))
    };
    (Shared::new(keys, switch, Box::new(|_| {}), Box::new(|_| {}), ended).unwrap(), told)
}

#[test]
fn an_error_is_told_to_the_owner() {
    let (shared, told) = shared();
    supervise("test", &shared, || Err(io::Error::other("out of memory")));
    assert_eq!(*told.lock().unwrap(), ["out of memory"]);
    supervise("test", &shared, || Ok(()));
    assert_eq!(told.lock().unwrap().len(), 1, "an ordinary end is no news");
}

#[test]
fn panics_are_counted_and_pause_longer_each_time() {
    let (shared, told) = shared();
    let (start, mut runs) = (Instant::now(), 0);
    supervise("test", &shared, || {
        runs += 1;
        assert!(runs > 5, "on purpose");
        Ok(())
    });
    // 10, 20, 40, 80 and 160 ms.
    assert!(start.elapsed() >= Duration::from_millis(310), "{:?}", start.elapsed());
    assert_eq!(shared.panics.load(std::sync::atomic::Ordering::Relaxed), 5);
    assert!(told.lock().unwrap().is_empty());
}

#[test]
fn the_end_of_the_datapath_ends_a_pause() {
    let (shared, _) = shared();
    let (start, mut runs) = (Instant::now(), 0);
    shared.stop();
    supervise("test", &shared, || {
        runs += 1;
        assert!(runs > 12, "on purpose");
        Ok(())
    });
    // Without that: 10 + 20 + … + 640 ms, and five times a second.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
