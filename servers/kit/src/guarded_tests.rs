use super::*;
use futures::future::join_all;
use mcp_system_config::Retry;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

fn resilience(places: u32, attempts: u32) -> Resilience {
    let mut resilience = Resilience { failure_threshold: 3, recovery_seconds: 60, ..Resilience::default() };
    resilience.bulkhead.max_concurrent_calls = places;
    resilience.retry = Retry { attempts, min_backoff_milliseconds: 10, max_backoff_milliseconds: 50 };
    resilience
}

fn guarded(places: u32, attempts: u32) -> (Guarded, Metrics) {
    let metrics = Metrics::new("demo");
    (Guarded::new("store", &resilience(places, attempts), &metrics), metrics)
}

const DEADLINE: Duration = Duration::from_secs(5);

async fn fail(guarded: &Guarded, verdict: Verdict) -> Trouble<&'static str> {
    guarded.call(DEADLINE, |_| verdict, || async { Err::<(), _>("gone") }).await.expect_err("it fails")
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_one_call_after_a_while_closes_it() {
    let (guarded, metrics) = guarded(4, 1);
    for _ in 0..3 {
        assert_eq!(fail(&guarded, Verdict::Failed).await, Trouble::Failed("gone"));
    }
    let refused = fail(&guarded, Verdict::Failed).await;
    assert!(matches!(refused, Trouble::Open { wait } if wait == Duration::from_mins(1)), "{refused:?}");
    let text = String::from_utf8(metrics.text()).expect("text");
    for line in [
        "mcp_demo_dependency_circuit_breaker_state{dependency=\"store\"} 2",
        "mcp_demo_dependency_calls_total{dependency=\"store\",outcome=\"failed\"} 3",
        "mcp_demo_dependency_calls_total{dependency=\"store\",outcome=\"refused\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(guarded.call(DEADLINE, |_: &&str| Verdict::Failed, || async { Ok(1) }).await, Ok(1));
    assert_eq!(guarded.state(), State::Closed);
    let text = String::from_utf8(metrics.text()).expect("text");
    assert!(text.contains("mcp_demo_dependency_circuit_breaker_state{dependency=\"store\"} 0"), "{text}");
    metrics.forget_dependency("store");
    let text = String::from_utf8(metrics.text()).expect("text");
    assert!(!text.contains("circuit_breaker_state{"), "it is not there any more");
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_caller_goes_away_leaves_it_to_the_next() {
    let (guarded, _) = guarded(4, 1);
    for _ in 0..3 {
        fail(&guarded, Verdict::Failed).await;
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    let trial = guarded.call(DEADLINE, |_: &&str| Verdict::Failed, std::future::pending::<Result<(), _>>);
    tokio::time::timeout(Duration::from_secs(1), trial).await.expect_err("it is given up");
    assert_eq!(guarded.call(DEADLINE, |_: &&str| Verdict::Failed, || async { Ok(1) }).await, Ok(1));
    assert_eq!(guarded.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn only_what_can_safely_be_repeated_is_and_an_answer_is_no_failure() {
    for (verdict, expected, state) in [
        (Verdict::Repeatable, 3, State::Open),
        (Verdict::Failed, 1, State::Open),
        (Verdict::Answered, 1, State::Closed),
    ] {
        let (guarded, _) = guarded(4, 3);
        for _ in 0..3 {
            let tries = Cell::new(0);
            let result: Result<(), _> = guarded
                .call(
                    DEADLINE,
                    |_| verdict,
                    || {
                        tries.set(tries.get() + 1);
                        std::future::ready(Err("no"))
                    },
                )
                .await;
            assert_eq!((result, tries.get()), (Err(Trouble::Failed("no")), expected), "{verdict:?}");
        }
        assert_eq!(guarded.state(), state, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_next_one_waits_and_then_is_told() {
    let (guarded, _) = guarded(1, 1);
    let hangs = guarded.call(DEADLINE, |_: &&str| Verdict::Failed, std::future::pending::<Result<(), _>>);
    let next = async {
        tokio::task::yield_now().await;
        guarded.call(DEADLINE, |_: &&str| Verdict::Failed, || async { Ok(()) }).await
    };
    let (hung, next) = tokio::join!(hangs, next);
    assert_eq!(hung, Err(Trouble::Late { after: DEADLINE }));
    let told = next.expect_err("no place").to_string();
    assert!(told.contains("busy with 1 calls") && told.contains("maxConcurrentCalls"), "{told}");

    // More places from now on.
    guarded.set(&resilience(2, 1));
    let hangs = guarded.call(DEADLINE, |_: &&str| Verdict::Failed, std::future::pending::<Result<(), _>>);
    let next = async {
        tokio::task::yield_now().await;
        guarded.call(DEADLINE, |_: &&str| Verdict::Failed, || async { Ok(()) }).await
    };
    assert_eq!(tokio::join!(hangs, next).1, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_takes_few_calls_gets_no_more_and_its_breaker_does_not_hear_of_the_others() {
    let (guarded, metrics) = guarded(4, 1);
    guarded.at_most(1);
    // Other settings do not undo it.
    guarded.set(&resilience(4, 1));
    let call = |takes| {
        let wait = move || async move {
            tokio::time::sleep(takes).await;
            Ok::<_, &str>(())
        };
        guarded.call(DEADLINE, |_: &&str| Verdict::Failed, wait)
    };
    let calls = join_all((0..5).map(|_| call(DEADLINE / 2))).await;
    assert_eq!(calls[0], Ok(()));
    assert!(calls[1..].iter().all(|call| *call == Err(Trouble::Exhausted { places: 1 })), "{calls:?}");
    assert_eq!(guarded.state(), State::Closed, "nobody asked it");
    let text = String::from_utf8(metrics.text()).expect("text");
    let line = "mcp_demo_dependency_calls_total{dependency=\"store\",outcome=\"exhausted\"} 4";
    assert!(text.contains(line), "{line} is missing in\n{text}");

    // The settings may allow fewer than it takes.
    guarded.at_most(9);
    guarded.set(&resilience(2, 1));
    let calls = join_all((0..3).map(|_| call(DEADLINE / 2))).await;
    assert_eq!(calls[2], Err(Trouble::Exhausted { places: 2 }));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_takes_nothing_from_the_deadline() {
    let (guarded, _) = guarded(1, 1);
    let call = |milliseconds| {
        let wait = move || async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok::<_, &str>(())
        };
        guarded.call(DEADLINE, |_: &&str| Verdict::Failed, wait)
    };
    // The second waits for most of a second and then takes nearly all of its five.
    assert_eq!(tokio::join!(call(900), call(4900)), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_nobody_waits_for_a_place() {
    let (guarded, _) = guarded(1, 1);
    let hangs = guarded.call(DEADLINE, |_: &&str| Verdict::Failed, std::future::pending::<Result<(), _>>);
    let next = async {
        tokio::task::yield_now().await;
        for _ in 0..3 {
            guarded.breaker.fail();
        }
        let asked = Instant::now();
        let refused = fail(&guarded, Verdict::Failed).await;
        assert!(matches!(refused, Trouble::Open { .. }), "{refused:?}");
        assert_eq!(asked.elapsed(), Duration::ZERO);
    };
    tokio::join!(hangs, next).0.expect_err("it hung");
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Ok,
    Fail(Verdict),
    Hang,
    Dropped,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Ok),
        1 => Just(Fate::Fail(Verdict::Answered)),
        1 => Just(Fate::Fail(Verdict::Failed)),
        1 => Just(Fate::Fail(Verdict::Repeatable)),
        1 => Just(Fate::Hang),
        1 => Just(Fate::Dropped),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever calls there are, however long they take and whoever drops them: never more run at a time than there
    /// are places, no call outlasts its deadline and the wait before it, none is tried more often than it may be, those
    /// that were refused did not run, and all places are free at the end.
    #[test]
    fn places_tries_and_deadlines_hold(
        calls in prop::collection::vec((fate(), 0u64..3000, 0u64..4000), 1..40),
        places in 1u32..5,
        attempts in 1u32..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (guarded, metrics) = guarded(places, attempts);
            let wait = Resilience::default().bulkhead.max_wait_milliseconds;
            let longest = DEADLINE + Duration::from_millis(u64::from(wait) + 3);
            let (running, most) = (Cell::new(0u32), Cell::new(0u32));
            let problems = RefCell::new(Vec::new());
            let each = calls.iter().map(|(fate, begins, takes)| {
                let (guarded, running, most, problems) = (&guarded, &running, &most, &problems);
                async move {
                    tokio::time::sleep(Duration::from_millis(*begins)).await;
                    let tries = Cell::new(0u32);
                    let judge = |verdict: &Told| verdict.0;
                    let operation = || async {
                        tries.set(tries.get() + 1);
                        let _running = Counted::up(running, most);
                        match fate {
                            Fate::Hang | Fate::Dropped => std::future::pending().await,
                            Fate::Ok => {
                                tokio::time::sleep(Duration::from_millis(*takes)).await;
                                Ok(())
                            }
                            Fate::Fail(verdict) => {
                                tokio::time::sleep(Duration::from_millis(*takes)).await;
                                Err(Told(*verdict))
                            }
                        }
                    };
                    let started = Instant::now();
                    let call = guarded.call(DEADLINE, judge, operation);
                    if matches!(fate, Fate::Dropped) {
                        let _ = tokio::time::timeout(Duration::from_millis(*takes), call).await;
                        return;
                    }
                    let result = call.await;
                    let allowed = if matches!(fate, Fate::Fail(Verdict::Repeatable)) { attempts } else { 1 };
                    let ran = !matches!(result, Err(Trouble::Open { .. } | Trouble::Exhausted { .. }));
                    if started.elapsed() > longest
                        || tries.get() > allowed
                        || (tries.get() > 0) != ran
                    {
                        problems.borrow_mut().push(format!("{fate:?}: {result:?} after {} tries", tries.get()));
                    }
                }
            });
            join_all(each).await;
            assert!(problems.borrow().is_empty(), "{problems:?}");
            assert!(most.get() <= places, "{} ran beside each other", most.get());
            assert_eq!(running.get(), 0);
            assert_eq!(guarded.rules.load().semaphore.available_permits(), places as usize);
            let text = String::from_utf8(metrics.text()).expect("text");
            assert!(text.contains("mcp_demo_dependency_calls_in_flight{dependency=\"store\"} 0"), "{text}");
        });
    }
}

#[derive(Debug)]
struct Told(Verdict);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told")
    }
}

struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn up(running: &'a Cell<u32>, most: &Cell<u32>) -> Self {
        running.set(running.get() + 1);
        most.set(most.get().max(running.get()));
        Self(running)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
