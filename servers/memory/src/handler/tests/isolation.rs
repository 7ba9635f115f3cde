//! What is an agent's, a tenant's or a key's, nobody else reaches.

use super::*;

#[tokio::test]
async fn no_tool_lets_an_agent_reach_what_is_anothers() {
    let client = connect().await;
    nothing_leaks((&client, "a"), (&client, "b")).await;
}

#[tokio::test]
async fn no_tool_lets_a_tenant_reach_what_is_anothers() {
    let keys = "keys:\n- {principal: one, key: first-key-0123456789, tenants: [one]}\n\
                - {principal: two, key: second-key-0123456789, tenants: [two]}\n";
    let [one, two] =
        connect_with([Some("first-key-0123456789"), Some("second-key-0123456789")], Some(keys)).await;
    nothing_leaks((&one, "a"), (&two, "a")).await;
    let history = json!({"session_id": "s"});
    let unknown = two.call("get_conversation_history", history.clone()).await.expect_err("another tenant's");
    assert!(unknown.contains("there is no session"), "{unknown}");
    assert_eq!(one.call("get_conversation_history", history).await.expect("read")["count"], 1);
    let counted = two.call("get_memory_statistics", json!({})).await.expect("counted");
    assert_eq!((&counted["memories"], &counted["sessions"]), (&json!(1), &json!(0)), "only its own");
    for resource in two.service.list_all_resources().await.expect("listed") {
        let seen = one.service.list_all_resources().await.expect("listed");
        assert!(seen.iter().all(|other| other.uri != resource.uri), "{}", resource.uri);
    }
    let cleared = two.call("clear_cache", json!({})).await.expect("cleared");
    assert_eq!(cleared["memory"], 0, "what the other has in the cache stays");
}

#[tokio::test]
async fn what_belongs_to_all_together_is_told_to_those_to_whom_all_belongs() {
    const OF_INDEXES_AND_CACHES: [&str; 4] = ["indexes", "index_bytes", "search_cache", "memory_cache"];
    let keys = "keys:\n- {principal: root, key: first-key-0123456789, tenants: [one, '*']}\n\
                - {principal: one, key: second-key-0123456789, tenants: [one, two]}\n\
                - {principal: a, key: third-key-0123456789, tenants: ['*'], agents: [a]}\n";
    let three = ["first-key-0123456789", "second-key-0123456789", "third-key-0123456789"].map(Some);
    let [root, one, a] = connect_with(three, Some(keys)).await;
    root.call("store_memory", json!({"agent_id": "a", "content": "tea"})).await.expect("stored");
    for (client, is_told) in [(&root, true), (&one, false), (&a, false), (&connect().await, true)] {
        for arguments in [json!({}), json!({"agent_id": "a"})] {
            let counted = client.call("get_memory_statistics", arguments).await.expect("counted");
            assert_eq!(counted.get("store_bytes").is_some(), is_told, "{counted}");
        }
        let health = client.call("health_check", json!({})).await.expect("told");
        assert_eq!(health["status"], "healthy");
        for field in OF_INDEXES_AND_CACHES {
            assert_eq!(health.get(field).is_some(), is_told, "{field}: {health}");
        }
    }
    let required = |tool: &str| {
        let schema = root.tools[tool].output_schema.as_ref().expect("an output schema");
        schema["required"].as_array().expect("a list").clone()
    };
    let statistics = required("get_memory_statistics");
    assert!(statistics.contains(&json!("memories")) && !statistics.contains(&json!("store_bytes")));
    let health = required("health_check");
    assert!(health.contains(&json!("status")));
    assert!(OF_INDEXES_AND_CACHES.iter().all(|field| !health.contains(&json!(field))), "{health:?}");
}

#[tokio::test]
async fn no_tool_lets_a_key_reach_agents_that_it_does_not_name() {
    let keys = "keys:\n- {principal: ada, key: first-key-0123456789, tenants: [one], agents: [a]}\n\
                - {principal: bob, key: second-key-0123456789, tenants: [one], agents: [b, c]}\n\
                - {principal: all, key: third-key-0123456789, tenants: [one]}\n";
    let three = ["first-key-0123456789", "second-key-0123456789", "third-key-0123456789"].map(Some);
    let [ada, bob, all] = connect_with(three, Some(keys)).await;
    nothing_leaks((&ada, "a"), (&bob, "b")).await;
    let recent = all.call("get_recent_memories", json!({"agent_id": "a"})).await.expect("every agent's");
    let id = recent["memories"][0]["memory_id"].as_str().expect("an id");

    let calls = [
        ("store_memory", json!({"content": "x"})),
        ("store_memory_batch", json!({"memories": [{"content": "x"}]})),
        ("search_memories", json!({"query": "secret word xyzzy"})),
        ("search_memories_cached", json!({"query": "secret word xyzzy"})),
        ("get_recent_memories", json!({})),
        ("update_memory", json!({"memory_id": id, "importance": 1})),
        ("delete_memory", json!({"memory_id": id})),
        ("store_conversation", json!({"session_id": "s", "role": "user", "message": "x"})),
        ("get_conversation_history", json!({"session_id": "s"})),
        ("create_session", json!({})),
        ("optimize_memory_storage", json!({"action": "purge"})),
        ("get_memory_statistics", json!({})),
    ];
    for (name, tool) in &bob.tools {
        let takes_agent = tool.input_schema.get("properties").is_some_and(|it| it.get("agent_id").is_some());
        assert_eq!(takes_agent, calls.iter().any(|(tool, _)| tool == name), "{name}");
    }
    for (tool, mut arguments) in calls {
        arguments["agent_id"] = "a".into();
        let error = bob.call(tool, arguments).await.expect_err(tool);
        assert!(error.contains("the agent \"a\" may not be named"), "{tool}: {error}");
        assert!(error.contains("the key of bob is used for these agents alone: b, c"), "{tool}: {error}");
    }
    for uri in [format!("memory://a/memories/{id}"), "memory://a/sessions/s".to_owned()] {
        let read = async |client: &Client| {
            client.service.read_resource(ReadResourceRequestParams::new(uri.clone())).await
        };
        let error = read(&bob).await.expect_err(&uri).to_string();
        assert!(error.contains("may not be named"), "{uri}: {error}");
        assert!(read(&ada).await.is_ok() && read(&all).await.is_ok(), "{uri}");
    }
}

#[tokio::test]
async fn what_names_no_agent_is_of_the_agents_of_the_key() {
    let keys = "keys:\n- {principal: ada, key: first-key-0123456789, tenants: [one], agents: [a]}\n\
                - {principal: bob, key: second-key-0123456789, tenants: [one], agents: [c, nobody, b]}\n\
                - {principal: all, key: third-key-0123456789, tenants: [one]}\n";
    let three = ["first-key-0123456789", "second-key-0123456789", "third-key-0123456789"].map(Some);
    let [ada, bob, all] = connect_with(three, Some(keys)).await;
    let mut created = Vec::new();
    for (client, agent) in [(&ada, "a"), (&bob, "b"), (&bob, "c")] {
        let memory = json!({"agent_id": agent, "content": format!("tea of {agent}")});
        created.push(client.call("store_memory", memory).await.expect("stored")["created_at"].clone());
    }
    let said = json!({"session_id": "s", "agent_id": "a", "role": "user", "message": "of a"});
    ada.call("store_conversation", said).await.expect("stored");

    let history = json!({"session_id": "s"});
    let unknown = bob.call("get_conversation_history", history.clone()).await.expect_err("another's");
    assert!(unknown.contains("there is no session \"s\""), "{unknown}");
    let said = json!({"session_id": "s", "agent_id": "b", "role": "user", "message": "of b"});
    bob.call("store_conversation", said).await.expect("stored");
    for (client, expected) in [(&ada, "of a"), (&bob, "of b")] {
        let read = client.call("get_conversation_history", history.clone()).await.expect("read");
        assert_eq!(ids(&read, "messages", "message"), [expected]);
    }
    let several = all.call("get_conversation_history", history).await.expect_err("two");
    assert!(several.contains("several agents"), "{several}");

    let cases: [(&Client, u64, u64, &[&str]); 3] =
        [(&ada, 1, 1, &["a"]), (&bob, 2, 1, &["b", "c"]), (&all, 3, 2, &["a", "b", "c"])];
    for (client, memories, messages, expected) in cases {
        let counted = client.call("get_memory_statistics", json!({})).await.expect("counted");
        assert_eq!((&counted["memories"], &counted["messages"]), (&json!(memories), &json!(messages)));
        assert_eq!(counted["memories_by_type"], json!({"general": memories}));
        let listed = client.service.list_all_resources().await.expect("listed");
        let agents = listed.iter().map(|it| it.uri.split('/').nth(2).expect("memory://AGENT/"));
        let mut agents: Vec<&str> = agents.collect();
        agents.sort_unstable();
        assert_eq!(agents, expected);
    }
    let counted = bob.call("get_memory_statistics", json!({})).await.expect("counted");
    assert_eq!((&counted["oldest_memory"], &counted["newest_memory"]), (&created[1], &created[2]));

    let search = json!({"agent_id": "a", "query": "tea"});
    let cached = async || {
        let found = ada.call("search_memories_cached", search.clone()).await;
        found.expect("found")["cached"].clone()
    };
    assert_eq!((cached().await, cached().await), (json!(false), json!(true)));
    let cleared = bob.call("clear_cache", json!({})).await.expect("cleared");
    assert_eq!(cleared, json!({"search": 0, "memory": 0}));
    assert_eq!(cached().await, true, "what the other has in the cache stays");
    let cleared = ada.call("clear_cache", json!({})).await.expect("cleared");
    assert_eq!(cleared["search"], 1);
}

/// What one stores, no tool and no resource shows or changes to the other.
async fn nothing_leaks((one, mine): (&Client, &str), (two, theirs): (&Client, &str)) {
    let secret = json!({"agent_id": mine, "content": "the secret word is xyzzy"});
    let id = one.call("store_memory", secret).await.expect("stored")["memory_id"].clone();
    let said = json!({"session_id": "s", "agent_id": mine, "role": "user", "message": "xyzzy again"});
    one.call("store_conversation", said).await.expect("stored");
    let search = json!({"agent_id": mine, "query": "secret word xyzzy"});
    assert_eq!(
        one.call("search_memories", search.clone()).await.expect("found")["memories"][0]["memory_id"],
        id
    );
    for (tool, arguments) in [
        ("search_memories", json!({"query": "secret word xyzzy"})),
        ("search_memories", json!({"query": "xyzzy", "session_id": "s"})),
        ("search_memories_cached", json!({"query": "secret word xyzzy"})),
        ("get_recent_memories", json!({})),
        ("get_conversation_history", json!({"session_id": "s"})),
        ("update_memory", json!({"memory_id": id, "importance": 1})),
        ("delete_memory", json!({"memory_id": id})),
        ("optimize_memory_storage", json!({"action": "purge"})),
        ("optimize_memory_storage", json!({"archive_after_days": 0, "archive_below": 1.0})),
        ("get_memory_statistics", json!({})),
    ] {
        let mut arguments = arguments;
        arguments["agent_id"] = theirs.into();
        let answer = two.call(tool, arguments).await;
        let text = answer.map_or_else(|error| error, |answer| answer.to_string());
        assert!(!text.contains("xyzzy"), "{tool}: {text}");
        assert!(!text.contains("\"memories\":1") && !text.contains("\"messages\":1"), "{tool}: {text}");
    }
    let uri = |agent: &str, kind: &str, id: &str| format!("memory://{agent}/{kind}/{id}");
    for uri in [uri(theirs, "memories", id.as_str().expect("an id")), uri(theirs, "sessions", "s")] {
        let request = ReadResourceRequestParams::new(uri.clone());
        assert!(two.service.read_resource(request).await.is_err(), "{uri}");
    }
    let own = json!({"agent_id": theirs, "content": "the secret word is xyzzy"});
    assert_eq!(two.call("store_memory", own).await.expect("stored")["duplicate"], false);
    let found = one.call("search_memories", search).await.expect("found");
    assert_eq!(found["memories"][0]["memory_id"], id, "and nothing was touched");
}
