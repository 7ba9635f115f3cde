//! What the watches have seen: systems, and what belongs to each of them.
//!
//! One lock around plain maps, held for moments only. Must not know where objects come from, nor what is
//! made of them.

use crate::child::{Child, system_of, version};
use crate::kind::{Kind, SystemKey};
use crate::pod::Pod;
use kube::core::{DynamicObject, ObjectMeta};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A system as it was last seen.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) generation: Option<i64>,
    pub(crate) deleting: bool,
    /// The object as JSON text: a tenth of what it takes as a value.
    pub(crate) text: Arc<str>,
}

impl System {
    fn read(mut object: DynamicObject) -> Option<(SystemKey, Self)> {
        object.metadata.managed_fields = None;
        let metadata = &object.metadata;
        let key = SystemKey::new(metadata.namespace.clone()?, metadata.name.clone()?);
        let system = Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: version(metadata),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            text: serde_json::to_string(&object).unwrap_or_default().into(),
        };
        Some((key, system))
    }
}

/// What belongs to one system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) objects: BTreeMap<(Kind, String), Child>,
    pub(crate) pods: BTreeMap<String, Pod>,
}

/// Everything that the watches have seen.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    systems: HashMap<SystemKey, System>,
    families: HashMap<SystemKey, Family>,
    /// Where each object is kept, so that one whose labels were changed is found again.
    homes: HashMap<Place, SystemKey>,
    gone: Gone,
}

/// The uids of objects whose end was seen not long ago, with the version of it. What the API answers to a write may arrive
/// after the end of the object that it speaks of, which no watch would ever tell again. What is newer is told of: an
/// object whose label was taken away ends to the watch, and is there again once the label is put back.
#[derive(Debug, Default)]
struct Gone {
    versions: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Gone {
    /// Far more than can go while an answer is on its way.
    const MOST: usize = 4096;

    fn note(&mut self, uid: &str, version: u64) {
        if self.versions.insert(uid.to_owned(), version).is_none() {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }

    /// Whether this is what an object was before its end.
    fn covers(&self, metadata: &ObjectMeta) -> bool {
        let end = metadata.uid.as_ref().and_then(|uid| self.versions.get(uid));
        end.is_some_and(|end| version(metadata) <= *end)
    }
}

/// Names one object: kind, namespace, name.
type Place = (Kind, String, String);

impl Cache {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before the lock is let go.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a system as it is now.
    pub(crate) fn put_system(&self, object: DynamicObject) -> Option<SystemKey> {
        let (key, system) = System::read(object)?;
        let mut inner = self.inner();
        match inner.systems.get(&key) {
            Some(known) if known.uid == system.uid && known.version >= system.version => None,
            _ => {
                inner.systems.insert(key.clone(), system);
                Some(key)
            }
        }
    }

    /// Takes a system as the API answered to a write, if it is still there: its end may have been seen meanwhile, and no
    /// watch would ever tell that again.
    pub(crate) fn renew_system(&self, object: DynamicObject) {
        let Some((key, system)) = System::read(object) else { return };
        let mut inner = self.inner();
        let known = inner.systems.get_mut(&key);
        if let Some(known) = known.filter(|known| known.uid == system.uid && known.version < system.version) {
            *known = system;
        }
    }

    /// Forgets a system, unless another one of that name is there by now.
    pub(crate) fn remove_system(&self, object: &DynamicObject) -> Option<SystemKey> {
        let metadata = &object.metadata;
        let key = SystemKey::new(metadata.namespace.clone()?, metadata.name.clone()?);
        let mut inner = self.inner();
        let is_same =
            inner.systems.get(&key).is_some_and(|known| metadata.uid.as_deref() == Some(&known.uid));
        is_same.then(|| inner.systems.remove(&key))?;
        Some(key)
    }

    /// Keeps only the systems that were seen in a list of a namespace, or of all.
    pub(crate) fn keep_systems(&self, namespace: Option<&str>, seen: &HashSet<SystemKey>) -> Vec<SystemKey> {
        let mut inner = self.inner();
        let gone: Vec<SystemKey> = inner
            .systems
            .keys()
            .filter(|key| {
                namespace.is_none_or(|namespace| namespace == key.namespace) && !seen.contains(*key)
            })
            .cloned()
            .collect();
        for key in &gone {
            inner.systems.remove(key);
        }
        gone
    }

    pub(crate) fn system(&self, key: &SystemKey) -> Option<System> {
        self.inner().systems.get(key).cloned()
    }

    pub(crate) fn systems(&self) -> Vec<SystemKey> {
        self.inner().systems.keys().cloned().collect()
    }

    /// What belongs to a system.
    pub(crate) fn family(&self, key: &SystemKey) -> Family {
        self.inner().families.get(key).cloned().unwrap_or_default()
    }

    /// Takes an object as it is now. Tells the systems that have to look at it.
    pub(crate) fn put(&self, kind: Kind, object: DynamicObject) -> Vec<SystemKey> {
        let (Some(namespace), Some(name)) = (object.metadata.namespace.clone(), object.metadata.name.clone())
        else {
            return Vec::new();
        };
        let place = (kind, namespace, name);
        let key = system_of(&object.metadata);
        let mut inner = self.inner();
        if inner.gone.covers(&object.metadata) {
            return Vec::new();
        }
        let mut affected = Vec::new();
        if let Some(home) = inner.homes.get(&place).filter(|home| Some(*home) != key.as_ref()).cloned() {
            inner.forget(&place);
            affected.push(home);
        }
        if let Some(key) = key {
            let family = inner.families.entry(key.clone()).or_default();
            let is_news = match kind {
                Kind::Pod => family.put_pod(&place.2, Pod::read(&object)),
                _ => family.put(Child::read(kind, object)),
            };
            inner.homes.insert(place, key.clone());
            if is_news {
                affected.push(key);
            }
        }
        affected
    }

    /// Forgets an object whose end was seen.
    pub(crate) fn remove(&self, kind: Kind, object: &DynamicObject) -> Option<SystemKey> {
        let metadata = &object.metadata;
        let uid = metadata.uid.as_deref()?;
        // Nobody writes pods.
        if kind != Kind::Pod {
            self.inner().gone.note(uid, version(metadata));
        }
        self.remove_named(kind, metadata.namespace.as_deref()?, metadata.name.as_deref()?, uid)
    }

    /// Forgets the object of that name and uid, unless another one of that name is there by now.
    pub(crate) fn remove_named(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Option<SystemKey> {
        let place = (kind, namespace.to_owned(), name.to_owned());
        let mut inner = self.inner();
        (inner.uid(&place)? == uid).then(|| inner.forget(&place))?
    }

    /// Keeps only the objects of a kind that were seen in a list of a namespace, or of all.
    pub(crate) fn keep(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        seen: &HashSet<(String, String)>,
    ) -> Vec<SystemKey> {
        let mut inner = self.inner();
        let gone: Vec<Place> = inner
            .homes
            .keys()
            .filter(|(of, within, name)| {
                *of == kind
                    && namespace.is_none_or(|namespace| namespace == within)
                    && !seen.contains(&(within.clone(), name.clone()))
            })
            .cloned()
            .collect();
        gone.iter().filter_map(|place| inner.forget(place)).collect()
    }

    /// Notes that an object, as it was seen, is as this hash stands for: its content is not needed again.
    pub(crate) fn settle(&self, key: &SystemKey, child: &Child, hash: &str) {
        let mut inner = self.inner();
        let family = inner.families.get_mut(key);
        let known = family.and_then(|family| family.objects.get_mut(&(child.kind, child.name.clone())));
        if let Some(known) =
            known.filter(|known| known.uid == child.uid && known.fingerprint == child.fingerprint)
        {
            known.settled = Some(hash.to_owned());
            known.content = None;
        }
    }
}

impl Inner {
    fn uid(&self, place: &Place) -> Option<&str> {
        let family = self.families.get(self.homes.get(place)?)?;
        match place.0 {
            Kind::Pod => family.pods.get(&place.2).map(|pod| pod.uid.as_str()),
            kind => family.objects.get(&(kind, place.2.clone())).map(|child| child.uid.as_str()),
        }
    }

    fn forget(&mut self, place: &Place) -> Option<SystemKey> {
        let key = self.homes.remove(place)?;
        if let Some(family) = self.families.get_mut(&key) {
            match place.0 {
                Kind::Pod => {
                    family.pods.remove(&place.2);
                }
                kind => {
                    family.objects.remove(&(kind, place.2.clone()));
                }
            }
            if family.objects.is_empty() && family.pods.is_empty() {
                self.families.remove(&key);
            }
        }
        Some(key)
    }
}

impl Family {
    /// Tells whether there is anything new in it.
    fn put(&mut self, mut child: Child) -> bool {
        let known =
            self.objects.get(&(child.kind, child.name.clone())).filter(|known| known.uid == child.uid);
        if known.is_some_and(|known| known.version > child.version) {
            return false;
        }
        if let Some(known) = known {
            child.follow(known);
        }
        let is_news = known.is_none_or(|known| {
            known.fingerprint != child.fingerprint
                || known.facts != child.facts
                || known.deleting != child.deleting
        });
        if let Some(settled) = known
            .filter(|known| known.fingerprint == child.fingerprint)
            .and_then(|known| known.settled.clone())
        {
            child.settled = Some(settled);
            child.content = None;
        }
        self.objects.insert((child.kind, child.name.clone()), child);
        is_news
    }

    fn put_pod(&mut self, name: &str, pod: Pod) -> bool {
        let known = self.pods.get(name).filter(|known| known.uid == pod.uid);
        if known.is_some_and(|known| known.version > pod.version) {
            return false;
        }
        let is_news = known.is_none_or(|known| Pod { version: pod.version, ..known.clone() } != pod);
        self.pods.insert(name.to_owned(), pod);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    fn service(version: &str, port: u16, instance: &str) -> DynamicObject {
        object(json!({
            "metadata": {
                "name": "demo-tools", "namespace": "test", "uid": "s", "resourceVersion": version,
                "labels": {"app.kubernetes.io/managed-by": "mcp-system-operator", "app.kubernetes.io/instance": instance},
            },
            "spec": {"ports": [{"port": port}]},
        }))
    }

    #[test]
    fn news_are_told_once_and_what_is_old_is_no_news() {
        let cache = Cache::default();
        let key = SystemKey::new("test", "demo");
        assert_eq!(cache.put(Kind::Service, service("5", 1, "demo")), std::slice::from_ref(&key));
        assert_eq!(cache.put(Kind::Service, service("6", 1, "demo")), []);
        assert_eq!(cache.put(Kind::Service, service("7", 2, "demo")), std::slice::from_ref(&key));
        assert_eq!(cache.put(Kind::Service, service("6", 1, "demo")), [], "it is older than what is known");
        let family = cache.family(&key);
        assert_eq!(family.objects.values().next().map(|child| child.version), Some(7));
    }

    #[test]
    fn content_goes_when_it_is_settled_and_comes_back_when_it_changes() {
        let cache = Cache::default();
        let key = SystemKey::new("test", "demo");
        cache.put(Kind::Service, service("5", 1, "demo"));
        let child = || cache.family(&key).objects.into_values().next().expect("is there");
        cache.settle(&key, &child(), "hash");
        assert_eq!((child().settled.as_deref(), child().content), (Some("hash"), None));
        cache.put(Kind::Service, service("6", 1, "demo"));
        assert_eq!((child().settled.as_deref(), child().content), (Some("hash"), None));
        cache.put(Kind::Service, service("7", 2, "demo"));
        assert_eq!(child().settled, None);
        assert!(child().content.is_some());
    }

    #[test]
    fn an_object_whose_labels_were_changed_leaves_its_old_place() {
        let cache = Cache::default();
        cache.put(Kind::Service, service("5", 1, "demo"));
        let (demo, other) = (SystemKey::new("test", "demo"), SystemKey::new("test", "other"));
        assert_eq!(cache.put(Kind::Service, service("6", 1, "other")), [demo.clone(), other.clone()]);
        assert!(cache.family(&demo).objects.is_empty());
        assert_eq!(cache.family(&other).objects.len(), 1);
    }

    #[test]
    fn a_list_shows_what_has_gone() {
        let cache = Cache::default();
        cache.put(Kind::Service, service("5", 1, "demo"));
        let key = SystemKey::new("test", "demo");
        assert_eq!(cache.keep(Kind::Service, Some("elsewhere"), &HashSet::new()), []);
        assert_eq!(cache.keep(Kind::Service, None, &HashSet::new()), std::slice::from_ref(&key));
        assert!(cache.family(&key).objects.is_empty());
    }

    #[test]
    fn an_answer_that_comes_after_the_end_of_its_object_brings_nothing_back() {
        let cache = Cache::default();
        let key = SystemKey::new("test", "demo");
        assert_eq!(cache.remove(Kind::Service, &service("6", 1, "demo")), None, "it was not known yet");
        assert_eq!(cache.put(Kind::Service, service("5", 1, "demo")), []);
        assert!(cache.family(&key).objects.is_empty());
        let mut gone = Gone::default();
        (0..2 * Gone::MOST).for_each(|number| gone.note(&number.to_string(), 1));
        assert_eq!((gone.versions.len(), gone.order.len()), (Gone::MOST, Gone::MOST));
    }

    #[test]
    fn an_object_that_lost_its_label_and_has_it_back_is_known_again() {
        let cache = Cache::default();
        let key = SystemKey::new("test", "demo");
        cache.put(Kind::Service, service("5", 1, "demo"));
        // To a watch by label it ends with the version that took the label away.
        assert_eq!(cache.remove(Kind::Service, &service("6", 1, "demo")), Some(key.clone()));
        assert_eq!(cache.put(Kind::Service, service("7", 1, "demo")), std::slice::from_ref(&key));
        assert_eq!(cache.family(&key).objects.len(), 1);
    }

    #[test]
    fn the_answer_to_a_write_renews_a_system_and_brings_none_back() {
        let cache = Cache::default();
        let system = |uid: &str, version: &str| {
            object(
                json!({"metadata": {"name": "demo", "namespace": "test", "uid": uid, "resourceVersion": version}}),
            )
        };
        let key = SystemKey::new("test", "demo");
        let version = || cache.system(&key).map(|system| system.version);
        cache.put_system(system("one", "1"));
        cache.renew_system(system("one", "2"));
        assert_eq!(version(), Some(2));
        cache.remove_system(&system("one", "4"));
        cache.renew_system(system("one", "3"));
        assert_eq!(version(), None);
        cache.put_system(system("two", "5"));
        cache.renew_system(system("one", "6"));
        assert_eq!(version(), Some(5), "it is another one");
    }

    #[test]
    fn the_end_of_an_earlier_object_does_not_hide_its_successor() {
        let cache = Cache::default();
        let system = |uid: &str, version: &str| {
            object(
                json!({"metadata": {"name": "demo", "namespace": "test", "uid": uid, "resourceVersion": version}}),
            )
        };
        cache.put_system(system("one", "1"));
        cache.put_system(system("two", "3"));
        assert_eq!(cache.remove_system(&system("one", "2")), None);
        assert_eq!(cache.systems().len(), 1);
        assert!(cache.remove_system(&system("two", "4")).is_some());
        assert!(cache.systems().is_empty());
    }
}
