//! Several operators, clocks that disagree, slow and lost requests: never two leaders.

use super::*;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn lease(holder: &str, renewed: i64) -> LeaseSpec {
    held(None, holder, Duration::from_secs(15), at(renewed))
}

const JUST_SEEN: Duration = Duration::ZERO;

#[test]
fn a_missing_a_free_and_ones_own_lease_are_taken() {
    assert_eq!(decide(None, JUST_SEEN, "me", at(0)), Decision::Create);
    assert_eq!(decide(Some(&LeaseSpec::default()), JUST_SEEN, "me", at(0)), Decision::Take);
    assert_eq!(decide(Some(&lease("me", 0)), JUST_SEEN, "me", at(99)), Decision::Renew);
    assert_eq!(decide(Some(&released(&lease("other", 0), at(1))), JUST_SEEN, "me", at(1)), Decision::Take);
}

#[test]
fn that_of_another_is_taken_only_when_it_has_expired() {
    let theirs = lease("other", 0);
    assert_eq!(decide(Some(&theirs), Duration::from_millis(14_999), "me", at(16)), Decision::Wait);
    assert_eq!(decide(Some(&theirs), Duration::from_secs(15), "me", at(16)), Decision::Take);
    // Their clock may be wrong by a minute, but not by more.
    assert_eq!(decide(Some(&theirs), JUST_SEEN, "me", at(75)), Decision::Wait);
    assert_eq!(decide(Some(&theirs), JUST_SEEN, "me", at(76)), Decision::Take);
    assert_eq!(decide(Some(&lease("other", 1000)), JUST_SEEN, "me", at(0)), Decision::Wait);
}

#[test]
fn who_holds_it_and_how_often_it_changed_hands_is_told() {
    let first = held(None, "a", Duration::from_secs(15), at(0));
    assert_eq!(first.lease_transitions, Some(0));
    let renewed = held(Some(&first), "a", Duration::from_secs(15), at(5));
    assert_eq!((renewed.lease_transitions, &renewed.acquire_time), (Some(0), &first.acquire_time));
    let taken = held(Some(&renewed), "b", Duration::from_secs(15), at(30));
    assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(MicroTime(at(30)))));
}

/// One operator of the simulation; times are milliseconds.
#[derive(Clone, Debug, Default)]
struct Candidate {
    clock_offset: i64,
    seen: Option<(u64, i64)>,
    until: Option<i64>,
    gone: bool,
    /// A write on its way: the version that it replaces, what it writes, when it was asked for, when it arrives.
    flight: Option<(u64, LeaseSpec, i64, i64, bool)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(i64),
    /// One reads the lease, decides, and writes with this delay; the answer may be lost.
    Turn { who: usize, delay: i64, lost: bool },
    /// One ends without a word.
    Kill(usize),
    /// One lets go.
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..9_000i64).prop_map(Step::Pass),
        8 => (0..3usize, 0..20_000i64, any::<bool>())
            .prop_map(|(who, delay, lost)| Step::Turn { who, delay: if delay < 15_000 { delay % 400 } else { delay }, lost }),
        1 => (0..3usize).prop_map(Step::Kill),
        1 => (0..3usize).prop_map(Step::Release),
    ]
}

struct World {
    now: i64,
    version: u64,
    lease: Option<LeaseSpec>,
    all: Vec<Candidate>,
}

impl World {
    /// Lets writes arrive, in the order of their times, and the answers with them.
    fn pass(&mut self, to: i64) -> Result<(), TestCaseError> {
        loop {
            let next = self
                .all
                .iter()
                .enumerate()
                .filter_map(|(index, candidate)| Some((candidate.flight.as_ref()?.3, index)))
                .filter(|(arrival, _)| *arrival <= to)
                .min();
            let Some((arrival, index)) = next else { break };
            self.now = self.now.max(arrival);
            let Some((version, lease, asked, _, lost)) = self.all[index].flight.take() else { break };
            if version == self.version {
                self.version += 1;
                self.lease = Some(lease.clone());
                let candidate = &mut self.all[index];
                let is_release = lease.holder_identity.as_deref() == Some("");
                if !lost && !candidate.gone && !is_release {
                    candidate.seen = Some((self.version, self.now));
                    let until =
                        asked + i64::try_from(valid_for(duration(&lease)).as_millis()).unwrap_or(i64::MAX);
                    candidate.until = Some(until);
                }
            }
            self.check()?;
        }
        self.now = to;
        self.check()
    }

    fn leaders(&self) -> usize {
        self.all.iter().filter(|one| !one.gone && one.until.is_some_and(|until| until > self.now)).count()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.leaders() <= 1, "two lead at {} ms: {:?}", self.now, self.all);
        Ok(())
    }

    fn turn(&mut self, who: usize, delay: i64, lost: bool) {
        let name = format!("candidate-{who}");
        let candidate = &mut self.all[who];
        if candidate.gone || candidate.flight.is_some() {
            return;
        }
        // Who has lost the lease ends.
        if candidate.until.is_some_and(|until| until <= self.now) {
            candidate.gone = true;
            return;
        }
        let since = match candidate.seen {
            Some((version, since)) if version == self.version => since,
            _ => self.now,
        };
        candidate.seen = Some((self.version, since));
        let clock = Timestamp::from_millisecond(1_800_000_000_000 + self.now + candidate.clock_offset)
            .expect("a time");
        let unchanged = Duration::from_millis(u64::try_from(self.now - since).unwrap_or_default());
        if decide(self.lease.as_ref(), unchanged, &name, clock) == Decision::Wait {
            candidate.gone |= candidate.until.is_some();
        } else {
            let lease = held(self.lease.as_ref(), &name, Duration::from_secs(15), clock);
            candidate.flight = Some((self.version, lease, self.now, self.now + delay, lost));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn never_two_lead(
        offsets in prop::collection::vec(-30_000..30_000i64, 3),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let all = offsets.into_iter().map(|clock_offset| Candidate { clock_offset, ..Candidate::default() }).collect();
        let mut world = World { now: 0, version: 0, lease: None, all };
        for step in steps {
            match step {
                Step::Pass(time) => world.pass(world.now + time)?,
                Step::Turn { who, delay, lost } => {
                    world.turn(who, delay, lost);
                    world.pass(world.now)?;
                }
                Step::Kill(who) => {
                    world.all[who].gone = true;
                }
                Step::Release(who) => {
                    let mine = world.lease.as_ref().is_some_and(|lease| {
                        lease.holder_identity == Some(format!("candidate-{who}"))
                    });
                    let candidate = &mut world.all[who];
                    candidate.until = None;
                    candidate.gone = true;
                    if mine && candidate.flight.is_none() {
                        let lease = released(world.lease.as_ref().expect("is there"), at(0));
                        candidate.flight = Some((world.version, lease, world.now, world.now, false));
                        world.pass(world.now)?;
                    }
                }
            }
        }
    }

    #[test]
    fn an_expired_or_released_lease_is_taken(seconds in 15..10_000u64, now in -10_000..10_000i64) {
        let theirs = lease("other", 0);
        prop_assert_eq!(decide(Some(&theirs), Duration::from_secs(seconds), "me", at(now)), Decision::Take);
        let free = released(&theirs, at(now));
        prop_assert_eq!(decide(Some(&free), JUST_SEEN, "me", at(now)), Decision::Take);
    }
}
