//! Memories that leave embedded storage for PostgreSQL, and a memory in several copies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcp_system_tests::databases::{self, Relay, sql};
use mcp_system_tests::wire::{Client, Place};
use serde_json::{Value, json};

use super::site::{Site, eventually, on_site, system, text};
use crate::group::{Scenario, same};

const DOCUMENTATION: &str = include_str!("../../../docs/MEMORY.md");

/// How long nothing may be written.
const REST: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("storage::memories_move_to_postgres_and_two_copies_serve_them", moves)]
}

const NAME: &str = "moving";
const SECRET: &str = "moving-database";
const SELECTOR: &str = "app.kubernetes.io/instance=moving,app.kubernetes.io/component=memory";
const MEMORY: &str = "orchestrator: {enabled: false}, tools: {enabled: false}";

fn embedded() -> String {
    // A merge of `kubectl apply` keeps what is not told anew.
    system(NAME, &format!("{{storage: {{type: Embedded}}, servers: {{{MEMORY}, memory: {{replicas: 1}}}}}}"))
}

fn postgres() -> String {
    let storage = format!("{{type: Postgres, postgres: {{urlSecret: {{name: {SECRET}, key: url}}}}}}");
    system(NAME, &format!("{{storage: {storage}, servers: {{{MEMORY}, memory: {{replicas: 2}}}}}}"))
}

fn moves() -> Result<()> {
    on_site(|site| {
        let database = databases::postgres_at(&site.cluster.address()?, &[("fsync", "off")])?;
        site.apply(&embedded())?;
        site.ready(NAME)?;
        let contents =
            ["The lighthouse is white", "The crane stands in the harbour", "The ferry leaves at 7"];
        let pod = only(site)?;
        for content in contents {
            pod.store(content)?;
        }
        a_wrong_url_is_told(site, database.url())?;

        put_url(site, database.url())?;
        // The kubelet would start the mover again in its own time.
        site.kubectl(&["delete", "pods", "--selector", SELECTOR])?;
        eventually("the claim is noted as moved", || Ok(is_moved(site)?.then_some(())))?;
        two_are_ready(site)?;
        same("memories in PostgreSQL", &count(database.url())?, contents.len().to_string().as_str())?;
        let events = site.kubectl(&["get", "events.events.k8s.io", "--output=jsonpath={.items[*].note}"])?;
        ensure!(events.contains("moved: 3 memories and messages"), "no Event tells of the move: {events}");

        two_copies_know_the_same(site)?;
        nothing_is_written(site)?;
        let url = another_password_is_taken_over(site, database.url())?;
        let _relay = another_database_has_them_begin_anew(site, &url)?;
        the_way_back_is_asked_for(site)?;
        site.delete(&[NAME])?;
        site.get(&["pvc", "moving-memory"]).context("the claim is gone")?;
        site.kubectl(&["delete", "pvc", "moving-memory", "--wait"])?;
        site.kubectl(&["delete", "secret", SECRET])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}

fn a_wrong_url_is_told(site: &Site, url: &str) -> Result<()> {
    put_url(site, &url.replace("only-for-tests", "wrong"))?;
    site.apply(&postgres())?;
    let message = site.condition(NAME, "Stalled", "True", "ServerFailing")?;
    ensure!(
        message.contains("its memories cannot be moved to PostgreSQL") && message.contains("password"),
        "the message does not tell what is wrong: {message}"
    );
    ensure!(!message.contains("wrong@"), "the message shows the URL: {message}");
    ensure!(!is_moved(site)?, "nothing was moved");
    let spec = site.get(&["deployment", "moving-memory"])?["spec"].clone();
    same("the strategy", &spec["strategy"]["type"], "Recreate")?;
    same("the copies", &spec["replicas"], &1)
}

fn two_copies_know_the_same(site: &Site) -> Result<()> {
    let pods = pods(site)?;
    same("copies", &pods.len(), &2)?;
    for (from, to) in [(0, 1), (1, 0)] {
        let content = format!("The buoy number {from} is green");
        pods[from].store(&content)?;
        let found = pods[to].search("buoy number")?;
        ensure!(found.contains(&content), "the other copy does not find {content:?}: {found}");
        let found = pods[to].search("lighthouse")?;
        ensure!(found.contains("The lighthouse is white"), "what was moved is not found: {found}");
    }
    Ok(())
}

fn nothing_is_written(site: &Site) -> Result<()> {
    eventually("nothing more is written", || {
        let position = site.audit_position()?;
        std::thread::sleep(REST);
        Ok(site.writes_since(position)?.is_empty().then_some(()))
    })
}

/// Gives the URL with that password.
fn another_password_is_taken_over(site: &Site, url: &str) -> Result<String> {
    let before = restarts(site)?;
    same("copies", &before.len(), &2)?;
    sql(url, "ALTER ROLE postgres PASSWORD 'another'")?;
    let url = url.replace("only-for-tests", "another");
    let since = sql(&url, "SELECT now()")?;
    put_url(site, &url)?;
    let ours = format!(
        "FROM pg_stat_activity WHERE application_name = 'mcp-system-memory' AND backend_start >= '{}'",
        since.trim()
    );
    eventually("both copies log in by the new password", || {
        let copies = sql(&url, &format!("SELECT count(DISTINCT client_addr) {ours}"))?;
        Ok((copies.trim() == "2").then_some(()))
    })?;
    sql(&url, &format!("SELECT pg_terminate_backend(pid) {ours}"))?;
    for pod in pods(site)? {
        let found = pod.search("lighthouse")?;
        ensure!(found.contains("The lighthouse is white"), "what was moved is not found: {found}");
    }
    same("how often they began anew", &format!("{:?}", restarts(site)?), format!("{before:?}").as_str())?;
    Ok(url)
}

/// Another port is all that makes it another database here; who leads there has to stay.
fn another_database_has_them_begin_anew(site: &Site, url: &str) -> Result<Relay> {
    let before = restarts(site)?;
    same("copies", &before.len(), &2)?;
    let relay = Relay::before_at(site.cluster.address()?.parse()?, url)?;
    put_url(site, &relay.in_url(url)?)?;
    eventually("both copies have begun anew", || {
        let now = restarts(site)?;
        let begun = |(pod, count): (&String, &u64)| now.get(pod).is_some_and(|now| now > count);
        Ok(before.iter().all(begun).then_some(()))
    })?;
    two_are_ready(site)?;
    let found = pods(site)?.first().context("a copy")?.search("lighthouse")?;
    ensure!(found.contains("The lighthouse is white"), "what was moved is not found: {found}");
    Ok(relay)
}

/// How often each copy has begun anew.
fn restarts(site: &Site) -> Result<BTreeMap<String, u64>> {
    let restarts = |pod: &Value| {
        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        Some((pod["metadata"]["name"].as_str()?.to_owned(), count?))
    };
    Ok(staying(site)?.iter().filter_map(restarts).collect())
}

fn the_way_back_is_asked_for(site: &Site) -> Result<()> {
    let memories = documented(site, "memory export", "")?;
    site.apply(&embedded())?;
    let message = site.condition(NAME, "Stalled", "True", "NotSupported")?;
    ensure!(message.contains("mcpsystem.io/moved from the volume claim moving-memory"), "{message}");
    same("copies", &site.get(&["deployment", "moving-memory"])?["status"]["readyReplicas"], &2)?;
    site.kubectl(&["annotate", "pvc", "moving-memory", "mcpsystem.io/moved-"])?;
    eventually("one copy on the old claim", || {
        let deployment = site.get(&["deployment", "moving-memory"])?;
        let is_done = deployment["spec"]["strategy"]["type"] == "Recreate"
            && deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
            && deployment["status"]["replicas"] == 1
            && deployment["status"]["updatedReplicas"] == 1
            && deployment["status"]["readyReplicas"] == 1;
        Ok(is_done.then_some(()))
    })?;
    site.ready(NAME)?;
    let pod = only(site)?;
    let found = pod.search("lighthouse")?;
    ensure!(found.contains("The lighthouse is white"), "what was there is gone: {found}");
    let found = pod.search("buoy number")?;
    ensure!(!found.contains("is green"), "this was stored in PostgreSQL only: {found}");
    documented(site, "memory import", &memories)?;
    let found = pod.search("buoy number")?;
    ensure!(found.contains("is green"), "what was taken along is not found: {found}");
    Ok(())
}

/// Runs the command of the documentation that does this in a pod, and gives what it printed.
fn documented(site: &Site, what: &str, input: &str) -> Result<String> {
    let line = DOCUMENTATION.lines().find(|line| line.starts_with("kubectl exec") && line.contains(what));
    let command = line.with_context(|| format!("the documentation tells no {what}"))?.replace("SYSTEM", NAME);
    let words = command.split_whitespace().skip(1).take_while(|word| !matches!(*word, "<" | ">"));
    site.cluster.kubectl_with_input(&words.collect::<Vec<_>>(), input)
}

fn put_url(site: &Site, url: &str) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"url": url}});
    site.apply(&secret.to_string())
}

fn is_moved(site: &Site) -> Result<bool> {
    let claim = site.get(&["pvc", "moving-memory"])?;
    Ok(claim["metadata"]["annotations"]["mcpsystem.io/moved"].is_string())
}

fn two_are_ready(site: &Site) -> Result<()> {
    eventually("two copies are ready", || {
        let deployment = site.get(&["deployment", "moving-memory"])?;
        let status = &deployment["status"];
        let is_current = status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["updatedReplicas"] == 2
            && status["replicas"] == 2
            && status["readyReplicas"] == 2;
        Ok((is_current && deployment["spec"]["strategy"]["type"] == "RollingUpdate").then_some(()))
    })?;
    site.ready(NAME).map(drop)
}

fn count(url: &str) -> Result<String> {
    Ok(sql(url, "SELECT count(*) FROM mcp_memory.entries")?.trim().to_owned())
}

/// One copy of the memory, reached by itself.
struct Pod {
    relay: Relay,
}

impl Pod {
    fn call(&self, tool: &str, arguments: &Value) -> Result<String> {
        let place = Place::of(&format!("http://{}/mcp", self.relay.address()))?;
        Ok(Client::http(&place)?.call(tool, arguments)?.result()?.to_string())
    }

    fn store(&self, content: &str) -> Result<()> {
        self.call("store_memory", &json!({"agent_id": "a", "content": content})).map(drop)
    }

    fn search(&self, query: &str) -> Result<String> {
        self.call("search_memories", &json!({"agent_id": "a", "query": query}))
    }
}

/// The pods that are not going: one that goes may still end the calls that it had.
fn staying(site: &Site) -> Result<Vec<Value>> {
    let list = site.get(&["pods", "--selector", SELECTOR])?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
}

fn pods(site: &Site) -> Result<Vec<Pod>> {
    staying(site)?
        .iter()
        .map(|pod| {
            let address = text(&pod["status"]["podIP"]);
            Ok(Pod { relay: Relay::before(&format!("http://{address}:8003"))? })
        })
        .collect()
}

fn only(site: &Site) -> Result<Pod> {
    let mut pods = pods(site)?;
    same("copies", &pods.len(), &1)?;
    pods.pop().context("no copy")
}
