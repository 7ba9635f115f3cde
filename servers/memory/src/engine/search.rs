//! One search: by the index of its scope, or, where that would not fit into memory, by what the store offers; with the
//! query's neural vector and a second look at the best where the settings name models for these.

use super::shelf::{self, Attributes, mark};
use super::{Engine, Found, Search, Slot};
use crate::model::{Filling, Filter, Kind, Page, Scope};
use crate::moment::Moment;
use crate::neural::Neural;
use crate::store::{self, Store, StoreError};
use mcp_system_retrieval::{Hit, Index, Query};
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
        query.dense = dense.as_deref().map(<[f32]>::to_vec);

        let wanted = Wanted::of(&search.filter);
        let picky = search.filter != Filter::default();
        let weigh = |attributes: &Attributes| weight(attributes, search, now);
        let hits: Vec<(u64, Hit)> = loop {
            let place = if let Some(index) = self.offered(scope, &slot, search, &query, &neural).await? {
                Place::Offered(Box::new(index))
            } else {
                self.bring_up(scope, (&slot, version), Some(scope)).await?;
                Place::Index(slot.clone())
            };
            let hits = place.read(neural.model(), |index, compares| {
                // The models were changed since this search began: vectors of two of them say nothing about each other.
                if !compares {
                    query.dense = None;
                    complete = false;
                }
                let accepts = |attributes: &Attributes| wanted.accepts(attributes);
                let accept: Option<&dyn Fn(&Attributes) -> bool> = if picky { Some(&accepts) } else { None };
                let hits = index.search(&query, accept, weigh);
                let version = |key| index.get(key).map_or(0, |attributes: &Attributes| attributes.version);
                hits.into_iter().map(|hit| (version(hit.key), hit)).collect()
            });
            // Let go of under our eyes: then the store offers. Where it was not, there is nothing.
            let too_large = slot.size_judgement().is_some_and(|(_, too_large)| too_large);
            if hits.is_some() || !too_large {
                break hits.unwrap_or_default();
            }
        };
        let places: Vec<(u64, u64)> = hits.iter().map(|(version, hit)| (hit.key, *version)).collect();
        let kept = self.entries(scope, &places).await?;
        let mut found: Vec<Found> = hits
            .into_iter()
            .filter_map(|(_, hit)| {
                // An entry that was deleted while we looked is not there; one that hashes alike is no match.
                let kept = kept.get(&hit.key).filter(|kept| search.filter.accepts(&kept.entry))?;
                Some(Found { kept: kept.clone(), score: hit.score, parts: hit.parts, judgement: None })
            })
            .collect();
        complete &= look_again(&neural, &search.query, &mut found).await;
        found.truncate(search.limit as usize);
        let mut page = Filling::new();
        for found in found {
            let bytes = found.kept.entry.weight();
            if !page.take(found, bytes) {
                break;
            }
        }
        Ok((page.into_page(), complete))
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

/// Has a model look at the best once more, where there is one; answers whether it did what it should.
async fn look_again(neural: &Neural, query: &str, found: &mut [Found]) -> bool {
    let count = neural.candidates().min(found.len());
    let (best, _) = found.split_at_mut(count);
    let most = best.iter().fold(f32::MIN_POSITIVE, |most, found| most.max(found.score));
    let texts = best.iter().map(|found| found.kept.entry.content.clone()).collect();
    let judgements = match neural.judge(query, texts).await {
        Ok(Some(judgements)) => judgements,
        Ok(None) => return true,
        Err(_) => return false,
    };
    for (found, judgement) in best.iter_mut().zip(judgements) {
        found.judgement = Some(judgement);
        found.score = (1.0 - SECOND_LOOK) * found.score + SECOND_LOOK * most * judgement;
    }
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    true
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
