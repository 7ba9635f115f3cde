//! Whether questions in other words find their answers in conversations, better than words alone do.

use mcp_system_retrieval::{Analysis, Index, Query};

struct Agent {
    name: &'static str,
    /// Each turn with its session.
    turns: Vec<(u64, &'static str)>,
    /// Each question with the keys of the turns that answer it.
    questions: Vec<(&'static str, Vec<u64>)>,
}

fn agents() -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    let mut session = 0;
    for line in include_str!("conversations.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            agents.push(Agent { name, turns: Vec::new(), questions: Vec::new() });
        } else if line.is_empty() {
            session += 1;
        } else if let Some(agent) = agents.last_mut() {
            match line.strip_prefix("? ").and_then(|line| line.split_once(" => ")) {
                Some((question, answers)) => {
                    let keys = answers.split(' ').map(|number| number.parse().expect("a number"));
                    agent.questions.push((question, keys.collect()));
                }
                None => agent.turns.push((session, line)),
            }
        }
    }
    agents
}

/// The share of answers among the first five, by everything and by shared words alone.
fn recall(agent: &Agent) -> (f64, f64) {
    let mut index = Index::new();
    for (key, (session, text)) in (1..).zip(&agent.turns) {
        index.insert(key, Some(*session), &Analysis::of(text, None), None, ());
    }
    let (mut all, mut words) = (0.0, 0.0);
    for (question, answers) in &agent.questions {
        let mut query = Query::of(question);
        query.limit = agent.turns.len();
        let mut hits = index.search(&query, None, |()| 1.0);
        let share = |hits: &[mcp_system_retrieval::Hit], least: f32| {
            let found =
                hits.iter().take(5).filter(|hit| hit.parts.lexical > least && answers.contains(&hit.key));
            f64::from(u32::try_from(found.count()).expect("few"))
                / f64::from(u32::try_from(answers.len()).expect("few"))
        };
        all += share(&hits, -1.0);
        hits.sort_by(|a, b| b.parts.lexical.total_cmp(&a.parts.lexical));
        words += share(&hits, 0.0);
    }
    let questions = f64::from(u32::try_from(agent.questions.len()).expect("few"));
    (all / questions, words / questions)
}

#[test]
fn questions_in_other_words_find_their_answers() {
    let mut sums = (0.0, 0.0);
    for agent in agents() {
        let (all, words) = recall(&agent);
        println!("{}: recall@5 {all:.2}, by words alone {words:.2}", agent.name);
        assert!(all > words, "{}: {all:.2} is no better than words alone, {words:.2}", agent.name);
        sums.0 += all / 3.0;
        sums.1 += words / 3.0;
    }
    assert!(sums.0 >= sums.1 + 0.15, "the lead over words alone is lost: {sums:?}");
}
