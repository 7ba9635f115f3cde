//! One search: by the index of its scope, or, where that would not fit into memory, by what the store offers; with the
//! query's neural vector and a second look at the best where the settings name models for these.

use super::shelf::{self, Attributes, mark};
use super::{Engine, Found, READ_AT_ONCE, Search, Slot};
use crate::model::{Filling, Filter, Kind, Page, Scope};
use crate::moment::Moment;
use crate::neural::Neural;
use crate::store::{self, Store, StoreError};
use mcp_system_retrieval::{Hit, Index, Query};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// After this many days, an entry's recency counts half.
const HALF_LIFE_DAYS: f64 = 30.0;
/// Microseconds of a day.
const DAY: f64 = 86_400e6;
/// What an index takes for an entry of a sentence or two, roughly.
const BYTES_PER_ENTRY: u64 = 600;
/// Entries that a store offers to be ranked.
const OFFERED: u32 = 400;
/// How long a scope that was too large for memory counts as such.
const REMEMBERED: Duration = Duration::from_mins(1);
/// What the second look counts beside all that came before it, both taken over their best.
const SECOND_LOOK: f32 = 0.5;
/// Bytes of a text that are kept for the second look, whose models read the first two hundred words or so.
const LOOKED_AT: usize = 16 << 10;

/// Where a scope is searched.
enum Place {
    Index(Arc<Slot>),
    Offered(Box<Index<Attributes>>),
}

impl Place {
    /// Gives the index, and whether its vectors are those of this model. `None` where the index was let go of, since by now its
    /// scope counts as too large.
    fn read<T>(&self, model: Option<&str>, use_it: impl FnOnce(&Index<Attributes>, bool) -> T) -> Option<T> {
        match self {
            Self::Index(slot) => slot.read(|shelf| {
                (shelf.version > 0).then(|| use_it(&shelf.index, shelf.model.as_deref() == model))
            }),
            Self::Offered(index) => Some(use_it(index, true)),
        }
    }
}

/// What may be in the answer, before it is read.
struct Candidate {
    hit: Hit,
    /// The version of its entry.
    version: u64,
    /// What the second look made of it, if it got one; the score with it.
    judgement: Option<f32>,
    score: f32,
}

impl Candidate {
    /// Its number and version.
    const fn place(&self) -> (u64, u64) {
        (self.hit.key, self.version)
    }
}

impl<S: Store> Engine<S> {
    /// The best entries of a scope, best first; and whether all models took part that should have.
    pub(super) async fn find(
        &self,
        scope: &Scope,
        search: &Search,
        now: Moment,
    ) -> Result<(Page<Found>, bool), StoreError> {
        let neural = self.neural();
        let Some((slot, version)) = self.slot(scope).await? else {
            return Ok((Filling::new().into_page(), true));
        };
        let dense = neural.of_query(&search.query).await;
        let mut complete = dense.is_ok();
        let dense = dense.unwrap_or_default();
        let mut query = Query::of(&search.query);
        query.limit = (search.limit as usize).max(neural.candidates());
        query.least_weight = least_weight(search);
        query.dense = dense.as_deref().map(<[f32]>::to_vec);

        let wanted = Wanted::of(&search.filter);
        let picky = search.filter != Filter::default();
        let weigh = |attributes: &Attributes| weight(attributes, search, now);
        let mut candidates: Vec<Candidate> = loop {
            let place = if let Some(index) = self.offered(scope, &slot, search, &query, &neural).await? {
                Place::Offered(Box::new(index))
            } else {
                self.bring_up(scope, (&slot, version), Some(scope)).await?;
                Place::Index(slot.clone())
            };
            let candidates = place.read(neural.model(), |index, compares| {
                // The models were changed since this search began: vectors of two of them say nothing about each other.
                if !compares {
                    query.dense = None;
                    complete = false;
                }
                let accepts = |attributes: &Attributes| wanted.accepts(attributes);
                let accept: Option<&dyn Fn(&Attributes) -> bool> = if picky { Some(&accepts) } else { None };
                let hits = index.search(&query, accept, weigh);
                let version = |key| index.get(key).map_or(0, |attributes: &Attributes| attributes.version);
                let candidate = |hit: Hit| Candidate {
                    hit,
                    version: version(hit.key),
                    judgement: None,
                    score: hit.score,
                };
                hits.into_iter().map(candidate).collect()
            });
            // Let go of under our eyes: then the store offers. Where it was not, there is nothing.
            let too_large = slot.size_judgement().is_some_and(|(_, too_large)| too_large);
            if candidates.is_some() || !too_large {
                break candidates.unwrap_or_default();
            }
        };
        complete &= self.look_again(scope, search, &neural, &mut candidates).await?;
        candidates.truncate(search.limit as usize);
        let places: Vec<(u64, u64)> = candidates.iter().map(Candidate::place).collect();
        let kept = self.entries(scope, &places).await?;
        let mut page = Filling::new();
        for Candidate { hit, judgement, score, .. } in candidates {
            // An entry that was deleted while we looked is not there; one that hashes alike is no match.
            let kept = kept.get(&hit.key).filter(|kept| search.filter.accepts(&kept.entry));
            let Some(kept) = kept.cloned() else { continue };
            let bytes = kept.entry.weight();
            if !page.take(Found { kept, score, parts: hit.parts, judgement }, bytes) {
                break;
            }
        }
        Ok((page.into_page(), complete))
    }

    /// Has a model look at the best once more, where there is one; answers whether it did what it should. All of them are
    /// judged, however large they are together: they are read in portions, of which only what the model reads is kept.
    async fn look_again(
        &self,
        scope: &Scope,
        search: &Search,
        neural: &Neural,
        candidates: &mut Vec<Candidate>,
    ) -> Result<bool, StoreError> {
        let rest = candidates.split_off(neural.candidates().min(candidates.len()));
        let mut texts = HashMap::with_capacity(candidates.len());
        let places: Vec<(u64, u64)> = candidates.iter().map(Candidate::place).collect();
        for places in places.chunks(READ_AT_ONCE) {
            for kept in self.read(scope, places).await? {
                if search.filter.accepts(&kept.entry) {
                    let content = &kept.entry.content;
                    let beginning = content[..content.floor_char_boundary(LOOKED_AT)].to_owned();
                    texts.insert(kept.number, beginning);
                }
            }
        }
        candidates.retain(|candidate| texts.contains_key(&candidate.hit.key));
        let texts = candidates.iter().filter_map(|candidate| texts.remove(&candidate.hit.key)).collect();
        let judged = neural.judge(&search.query, texts).await;
        let complete = judged.is_ok();
        if let Ok(Some(judgements)) = judged {
            let scores = candidates.iter().map(|candidate| candidate.score);
            let most = scores.fold(f32::MIN_POSITIVE, f32::max);
            for (candidate, judgement) in candidates.iter_mut().zip(judgements) {
                candidate.judgement = Some(judgement);
                candidate.score = (1.0 - SECOND_LOOK) * candidate.score + SECOND_LOOK * most * judgement;
            }
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        candidates.extend(rest);
        Ok(complete)
    }

    /// An index of what the store offers, where that of the whole scope would not fit into memory and the store has
    /// indexes of its own. Neighbours of a conversation count as far as both are offered.
    async fn offered(
        &self,
        scope: &Scope,
        slot: &Slot,
        search: &Search,
        query: &Query,
        neural: &Neural,
    ) -> Result<Option<Index<Attributes>>, StoreError> {
        if !self.too_large(scope, slot).await? {
            return Ok(None);
        }
        let wanted = store::Wanted {
            text: &search.query,
            dense: neural.model().zip(query.dense.as_deref()),
            filter: &search.filter,
            limit: OFFERED.max(search.limit),
        };
        let Some(mut offered) = self.store.candidates(scope, &wanted).await? else {
            slot.judge_size(false);
            return Ok(None);
        };
        slot.judge_size(true);
        offered.sort_unstable_by_key(|row| row.number);
        shelf::of_rows(&*self.store, scope, offered).await.map(Some)
    }

    /// Whether the index of a scope would take more than all indexes together may.
    pub(super) async fn too_large(&self, scope: &Scope, slot: &Slot) -> Result<bool, StoreError> {
        if slot.read(|shelf| shelf.version > 0 && shelf.bytes() <= self.index_bytes) {
            return Ok(false);
        }
        if let Some((judged, too_large)) = slot.size_judgement()
            && judged.elapsed() < REMEMBERED
        {
            return Ok(too_large);
        }
        let bytes = self.store.size(scope).await?.saturating_mul(BYTES_PER_ENTRY);
        Ok(bytes > self.index_bytes as u64)
    }
}

/// A filter as the index compares it.
struct Wanted {
    kind: Option<Kind>,
    memory_type: Option<u64>,
    session: Option<u64>,
    min_importance: f32,
    since: i64,
    until: i64,
}

impl Wanted {
    fn of(filter: &Filter) -> Self {
        Self {
            kind: filter.kind,
            memory_type: filter.memory_type.as_deref().map(mark),
            session: filter.session_id.as_deref().map(mark),
            // A little less than was asked for: the index holds rounded numbers, the entry itself decides.
            #[allow(clippy::cast_possible_truncation, reason = "rounded on purpose")]
            min_importance: filter.min_importance.map_or(f32::MIN, |least| least as f32 - 1e-6),
            since: filter.since.map_or(i64::MIN, |since| since.0),
            until: filter.until.map_or(i64::MAX, |until| until.0),
        }
    }

    fn accepts(&self, attributes: &Attributes) -> bool {
        self.kind.is_none_or(|kind| kind == attributes.kind)
            && self.memory_type.is_none_or(|wanted| wanted == attributes.memory_type)
            && self.session.is_none_or(|wanted| attributes.session == Some(wanted))
            && attributes.importance >= self.min_importance
            && (self.since..self.until).contains(&attributes.created_at)
    }
}

/// What [`weight`] is for what is as old and as unimportant as can be.
fn least_weight(search: &Search) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a factor from 0 to 1")]
    let weight = ((1.0 - search.recency_weight) * (1.0 - search.importance_weight)).max(0.0) as f32;
    weight
}

/// The factor that recency and importance make, at most 1.
fn weight(attributes: &Attributes, search: &Search, now: Moment) -> f32 {
    if search.recency_weight <= 0.0 && search.importance_weight <= 0.0 {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "days, not microseconds, count")]
    let days = (now.0.saturating_sub(attributes.created_at)).max(0) as f64 / DAY;
    let recency = 0.5_f64.powf(days / HALF_LIFE_DAYS);
    let importance = f64::from(attributes.importance);
    let factor = |weight: f64, value: f64| 1.0 - weight + weight * value;
    #[allow(clippy::cast_possible_truncation, reason = "a factor from 0 to 1")]
    let weight =
        (factor(search.recency_weight, recency) * factor(search.importance_weight, importance)) as f32;
    weight
}
