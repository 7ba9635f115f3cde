//! Another server takes the database's place: a standby that has all of it, or all but the end.

use super::*;
use crate::engine::tests::{capacity, search};
use crate::engine::{Engine, draft};

/// A primary with a standby, and a relay to whichever of them is in service.
struct Pair {
    primary: Database,
    standby: Database,
    relay: Relay,
    /// By way of the relay.
    url: String,
}

impl Pair {
    fn start() -> Self {
        let primary = database("on");
        let standby = databases::standby_of(&primary).expect("a standby");
        let relay = Relay::before(primary.url()).expect("a relay");
        let url = relay.in_url(primary.url()).expect("a URL");
        Self { primary, standby, relay, url }
    }

    /// From now on a commit is acknowledged when the standby has it too.
    fn keep_in_step(&self) {
        set(self.primary.url(), "synchronous_standby_names", "*");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        until(|| sql(self.primary.url(), synchronous) == "1");
    }

    /// Puts the standby in the primary's place; connections that are open stay where they are.
    fn fail_over(&self) {
        sql(self.standby.url(), "SELECT pg_promote()");
        self.relay.lead_to(self.standby.url()).expect("leads there");
    }
}

fn set(url: &str, name: &str, value: &str) {
    sql(url, &format!("ALTER SYSTEM SET {name} = '{value}'"));
    sql(url, "SELECT pg_reload_conf()");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_from_a_killed_primary_has_all_that_was_acknowledged() {
    let mut pair = Pair::start();
    pair.keep_in_step();
    let url = pair.url.clone();
    nothing_acknowledged_is_lost([&url, &url], async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| {
            pair.primary.kill().expect("killed");
            std::thread::sleep(Duration::from_millis(300));
            pair.fail_over();
        });
    })
    .await
    .close()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_only_reads_any_more_is_left_for_its_successor() {
    let pair = Pair::start();
    pair.keep_in_step();
    let url = pair.url.clone();
    let store = nothing_acknowledged_is_lost([&url, &url], async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| {
            // It goes on answering, on the connections that there are.
            set(pair.primary.url(), "default_transaction_read_only", "on");
            // Who waits for another's row has no number yet, and may write for all that.
            let writes = "SELECT count(*) FROM pg_stat_activity
                 WHERE state <> 'idle' AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
            until(|| sql(pair.primary.url(), writes) == "0");
            pair.fail_over();
        });
    })
    .await;
    assert_eq!(store.lives(), 1);
    store.close().await;
    // Whoever only searches notices it too.
    let mut options = options(&url);
    options.patience = Duration::from_secs(5);
    let reader = PostgresStore::open(&options).await.expect("opens");
    set(pair.standby.url(), "default_transaction_read_only", "on");
    let told = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            if let Err(error) = reader.check().await {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let told = told.await.expect("notices");
    assert!(matches!(told, StoreError::Unreachable(_)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_standby_had_not_got_is_found_no_more_and_what_took_its_number_is() {
    let mut pair = Pair::start();
    let engine = Engine::new(Arc::new(open(&pair.url).await), capacity(1 << 30));
    let put = async |store: &PostgresStore, number, content: &str| {
        let draft = draft(memory(number, content).entry, None);
        store.insert(&scope("a"), vec![draft]).await.expect("stored")
    };
    let find = async || {
        let search = search("the crane in the harbour");
        let found = engine.search_cached(&scope("a"), &search).await.expect("finds").0;
        let mut found: Vec<_> = found.items.iter().map(|it| it.kept.entry.content.clone()).collect();
        found.sort();
        found
    };
    put(engine.store(), 1, "the harbour has a crane").await;
    let has_it = "SELECT count(*) FROM mcp_memory.entries";
    let has_tables = "SELECT to_regclass('mcp_memory.entries') IS NOT NULL";
    let standby = pair.standby.url().to_owned();
    until(|| sql(&standby, has_tables) == "t" && sql(&standby, has_it) == "1");

    pair.standby.stop().expect("stopped");
    let lost = put(engine.store(), 2, "a crane that sinks in the harbour").await;
    assert_eq!(find().await, ["a crane that sinks in the harbour", "the harbour has a crane"]);
    pair.primary.kill().expect("killed");
    pair.standby.start().expect("started");
    pair.fail_over();

    // Another replica writes before this one asks again.
    let other = open(&standby).await;
    let new = put(&other, 3, "the new crane of the harbour").await;
    assert_eq!(new[0].number, lost[0].number, "what is told apart has the same number");
    assert_eq!(new[0].version, lost[0].version, "and the same version");
    assert_eq!(find().await, ["the harbour has a crane", "the new crane of the harbour"]);
    other.close().await;
}
