use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use super::*;

const OF_A_TEST: &[(&str, &str)] = &[("fsync", "off")];

#[test]
fn postgres_keeps_what_it_acknowledged_and_has_vectors() {
    let mut database = postgres(OF_A_TEST).unwrap();
    let url = database.url().to_owned();
    let ask = |statement: &str| sql(&url, statement).unwrap();
    ask("create extension vector");
    ask("create table points (place vector(2)); insert into points values ('[1,2]'), ('[5,6]')");
    database.kill().unwrap();
    assert!(sql(&url, "select 1").is_err());
    database.start().unwrap();
    assert_eq!(ask("select place from points order by place <-> '[4,4]' limit 1"), "[5,6]");
    assert!(ask("select version()").starts_with("PostgreSQL 18."), "{}", ask("select version()"));
    database.restart().unwrap();
    assert_eq!(ask("select count(*) from points"), "2");
}

#[test]
fn pgbouncer_leads_to_every_database_of_its_postgres() {
    let database = postgres(OF_A_TEST).unwrap();
    let pooler = pgbouncer(database.url(), &[("pool_mode", "session")]).unwrap();
    assert_ne!(pooler.url(), database.url());
    sql(pooler.url(), "create database another").unwrap();
    let another = format!("{}/another", pooler.url().strip_suffix("/postgres").unwrap());
    assert_eq!(sql(&another, "select current_database()").unwrap(), "another");
}

#[test]
fn redis_keeps_what_it_acknowledged() {
    let mut database = redis().unwrap();
    let ask = |command: &str| ask_redis(database.url(), command).unwrap();
    assert_eq!(ask("SET key value"), "+OK");
    let url = database.url().to_owned();
    database.kill().unwrap();
    assert!(ask_redis(&url, "PING").is_err());
    database.start().unwrap();
    assert_eq!(ask_redis(&url, "STRLEN key").unwrap(), ":5");
}

#[test]
fn a_relay_cuts_and_mends() {
    let database = redis().unwrap();
    let relay = Relay::before(database.url()).unwrap();
    let url = relay.in_url(database.url()).unwrap();
    assert_eq!(ask_redis(&url, "PING").unwrap(), "+PONG");
    relay.cut();
    assert!(ask_redis(&url, "PING").is_err());
    relay.mend();
    assert_eq!(ask_redis(&url, "PING").unwrap(), "+PONG");
}

#[test]
fn weaviate_lets_in_who_has_the_key() {
    let database = weaviate(Access::Key("a-key")).unwrap();
    let status = |headers: &str| http_status(database.url(), "/v1/schema", headers).unwrap();
    assert_eq!(status(""), "401");
    assert_eq!(status("Authorization: Bearer a-key\r\n"), "200");
}

#[test]
fn nothing_stays_behind() {
    let mut database = postgres(OF_A_TEST).unwrap();
    let (pid, folder) = (database.pid().unwrap(), database.folder.path().to_owned());
    let all: Vec<i32> = std::iter::once(pid).chain(children(pid)).collect();
    assert!(all.len() > 1, "postgres has started others: {all:?}");
    database.stop().unwrap();
    assert!(all.iter().all(|pid| has_ended(*pid)));
    database.start().unwrap();
    let pid = database.pid().unwrap();
    drop(database);
    assert!(!Path::new(&format!("/proc/{pid}")).exists() && !folder.exists());
}

fn ask_redis(url: &str, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect(url.trim_start_matches("redis://"))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    first_line(stream)
}

fn http_status(url: &str, path: &str, headers: &str) -> Result<String> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())?;
    let line = first_line(stream)?;
    Ok(line.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn first_line(stream: TcpStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        bail!("the connection was closed");
    }
    Ok(line.trim_end().to_owned())
}
