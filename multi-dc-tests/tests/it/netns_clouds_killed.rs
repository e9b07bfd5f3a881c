//! `up` and `down` in emulated clouds are killed behind every single step, and run again until one ends by itself: the
//! clouds hold everything once, then nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use multi_dc_tests::Run;
use multi_dc_tests::clouds::{FLEET, Ground};

const UP: [&str; 4] = ["up", "--yes", "--clouds", "aws,gcp,onprem"];
const DOWN: [&str; 2] = ["down", "--yes"];

/// More than a fleet of three hosts has steps.
const MOST_RUNS: usize = 80;

/// Of the 26 steps of an `up`; some fall together.
const FEWEST: usize = 12;

/// For what a landlord does to a host that need not boot.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_fleet_is_made_and_unmade_once_however_often_a_run_dies_before_a_step() -> anyhow::Result<()> {
    let up = ["create site ", "create host ", ": write ", ": enable and start "];
    killed_at_every_line("begin", "dieb", &up, &[" host ", "remove site ", "sweep"])
}

#[test]
fn a_fleet_is_made_and_unmade_once_however_often_a_run_dies_after_a_step() -> anyhow::Result<()> {
    // The first host that is done ends the run while the others are made, which the next run finds made.
    killed_at_every_line("done", "died", &["create site ", " host ", ": write "], &[" host ", "remove site "])
}

fn killed_at_every_line(event: &str, test: &str, up: &[&str], down: &[&str]) -> anyhow::Result<()> {
    let ground = Ground::small(test, &[])?;
    ground.explain(|ground| {
        let mut moments = Lines { event, hit: BTreeSet::new() };
        let whole = run_to_the_end(ground, &UP, &mut moments)?;
        ensure!(moments.hit.len() >= FEWEST, "killed at {:#?} only", moments.hit);
        hits_each(&moments.hit, up)?;
        stands_once(ground, &whole)?;

        moments.hit.clear();
        run_to_the_end(ground, &DOWN, &mut moments)?;
        hits_each(&moments.hit, down)?;
        nothing_is_left(ground)
    })
}

/// The journal knows steps; this hits within them, where the cloud has heard and the run does not know.
#[test]
fn a_fleet_is_made_and_unmade_once_however_often_a_run_dies_at_a_call() -> anyhow::Result<()> {
    let ground = Ground::small("diec", &[])?;
    ground.explain(|ground| {
        let mut moments = Calls { hit: BTreeSet::new() };
        let up = run_to_the_end(ground, &UP, &mut moments)?;
        let calls =
            ["RunInstances ", "AuthorizeSecurityGroupIngress ", "instances.insert ", "firewalls.insert "];
        hits_each(&moments.hit, &calls)?;
        stands_once(ground, &up)?;
        run_to_the_end(ground, &DOWN, &mut moments)?;
        let calls = ["TerminateInstances ", "DeleteSecurityGroup ", "instances.delete ", "firewalls.delete "];
        hits_each(&moments.hit, &calls)?;
        nothing_is_left(ground)
    })
}

/// Proves that runs were killed at every kind of moment. Which of those that fall together is a matter of chance: what
/// one host has done when another one's step kills the run is not done again.
fn hits_each(hit: &BTreeSet<String>, kinds: &[&str]) -> anyhow::Result<()> {
    eprintln!("killed at {} moments", hit.len());
    for kind in kinds {
        ensure!(
            hit.iter().any(|moment| moment.contains(kind)),
            "no run was killed at {kind:?}, but at {hit:#?}"
        );
    }
    Ok(())
}

/// When runs are killed.
trait Moments {
    /// Begins to follow a run that is about to start; the answer tells whether its moment has come.
    fn follow<'a>(
        &'a mut self,
        ground: &'a Ground,
    ) -> anyhow::Result<Box<dyn FnMut() -> anyhow::Result<bool> + 'a>>;
}

/// At each line of an event once.
struct Lines<'a> {
    event: &'a str,
    hit: BTreeSet<String>,
}

impl Moments for Lines<'_> {
    fn follow<'a>(
        &'a mut self,
        ground: &'a Ground,
    ) -> anyhow::Result<Box<dyn FnMut() -> anyhow::Result<bool> + 'a>> {
        let mut journal = ground.journal()?;
        Ok(Box::new(move || {
            let lines = journal.fresh()?.into_iter().filter(|line| line.event == self.event);
            // Steps of several hosts may stand there at once; the others have their turn in the next run.
            let new = lines.map(|line| line.step).find(|step| !self.hit.contains(step));
            Ok(new.is_some_and(|step| self.hit.insert(step)))
        }))
    }
}

/// At each call that changes something once.
struct Calls {
    hit: BTreeSet<String>,
}

impl Moments for Calls {
    fn follow<'a>(
        &'a mut self,
        ground: &'a Ground,
    ) -> anyhow::Result<Box<dyn FnMut() -> anyhow::Result<bool> + 'a>> {
        let clouds = ground.clouds()?;
        let before = clouds.changes()?.len();
        Ok(Box::new(move || {
            let calls = clouds.changes()?;
            let come = calls.len() > before;
            if come {
                self.hit.extend(calls);
            }
            Ok(come)
        }))
    }
}

/// Runs a command again and again, each time until its moment, until one run ends by itself, well.
fn run_to_the_end(ground: &Ground, args: &[&str], moments: &mut dyn Moments) -> anyhow::Result<Run> {
    for runs in 1..=MOST_RUNS {
        let mut come = false;
        let mut moment = moments.follow(ground)?;
        let said = ground.provision_until(args, || {
            come = moment()?;
            Ok(come)
        })?;
        drop(moment);
        if !come {
            eprintln!("{}: {runs} runs, the last for {:?}", args[0], said.took);
            return said.expect_success().with_context(|| format!("the last of {runs} runs"));
        }
    }
    bail!("`{}` does not end in {MOST_RUNS} runs", args[0])
}

/// Proves that the fleet is whole and that the clouds hold nothing twice.
fn stands_once(ground: &Ground, up: &Run) -> anyhow::Result<()> {
    ensure!(up.stdout.contains("verified: all 6 pairs"), "{up}");
    let again = ground.provision(&UP)?.expect_success()?;
    ensure!(again.stdout.lines().any(|line| line == "plan: 0 to change"), "{again}");
    let clouds = ground.clouds()?;
    let births = clouds.births(&["aws-1", "gcp-1"])?;
    ensure!(births.len() == 2 && births.values().all(|count| *count == 1), "instances made: {births:?}");
    let inventory = clouds.inventory(FLEET)?;
    ensure!(inventory == expected_inventory(), "the clouds hold {inventory:#?}");
    ground.wait_for_instances(&["aws-1", "gcp-1"], SOON)?;
    ensure!(clouds.complaints().is_empty(), "{:?}", clouds.complaints());
    Ok(())
}

/// What a fleet of one host in each cloud is made of.
fn expected_inventory() -> BTreeMap<String, usize> {
    let kinds = [
        // From the operator, from gateways, and what is refused otherwise.
        ("compute firewalls", 3),
        ("compute instances", 1),
        ("ec2 Instances", 1),
        ("ec2 SecurityGroups", 1),
        // Come and go with the instance.
        ("ec2 interfaces", 1),
        ("ec2 volumes", 1),
        ("ec2 rules", 4),
    ];
    kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

fn nothing_is_left(ground: &Ground) -> anyhow::Result<()> {
    ground.is_empty()?;
    let inventory = ground.clouds()?.inventory(FLEET)?;
    ensure!(inventory.is_empty(), "the clouds hold {inventory:#?}");
    ensure!(!ground.state().exists(), "{} is still there", ground.state().display());
    ground.is_clean("onprem-1")
}
