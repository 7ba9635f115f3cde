//! Who calls: a bearer key names a principal, the tenants that it may touch, and perhaps the agents that it may name.
//!
//! Nothing here knows HTTP beyond four headers, nor what a tenant or an agent owns; servers ask [`Caller::of`] and put the
//! answer into every question to their store.

use crate::followed::Followed;
use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use mcp_system_config::{
    Anonymous, Callers, EVERY_TENANT, Keys, MOST_AGENTS, agent_rule, is_agent, is_name, name_rule,
};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The header in which a caller says which tenant it means.
pub const TENANT_HEADER: &str = "mcp-tenant";
/// The header in which a caller says which agents alone it means, with commas between; empty, it means none. It only ever takes
/// away from what the key may, so whoever passes a call on passes its agents on in it.
pub const AGENTS_HEADER: &str = "mcp-agents";
/// The header by which whoever passes a call on says that its caller may touch no other tenant than the one that is meant. It
/// only takes away, whatever it holds.
pub const ONE_TENANT_HEADER: &str = "mcp-one-tenant";

/// Agents by their names, for many clones.
type Agents = Arc<[Arc<str>]>;

static OWNER: LazyLock<Arc<str>> = LazyLock::new(|| "owner".into());
static DEFAULT_TENANT: LazyLock<Arc<str>> = LazyLock::new(|| "default".into());

/// Who makes a request, and for which tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom the key stands for.
    pub principal: Arc<str>,
    /// Whose things are meant.
    pub tenant: Arc<str>,
    /// Whether any other tenant might have been meant.
    pub every_tenant: bool,
    /// The agents of the tenant that may be named, each once; `None` for every one.
    pub agents: Option<Agents>,
}

impl Caller {
    /// A caller of this name who means this tenant, the only one that it may touch, and may name each of its agents.
    pub fn new(principal: &str, tenant: &str) -> Self {
        Self { principal: principal.into(), tenant: tenant.into(), every_tenant: false, agents: None }
    }

    /// The one to whom everything belongs where there are no keys.
    pub fn owner() -> Self {
        Self { principal: OWNER.clone(), tenant: DEFAULT_TENANT.clone(), every_tenant: true, agents: None }
    }

    /// Whether each agent of every tenant may be named: what is told of all together is for such callers alone.
    pub fn owns_all(&self) -> bool {
        self.every_tenant && self.agents.is_none()
    }

    /// Whether this agent of the tenant may be named.
    pub fn may_name(&self, agent: &str) -> bool {
        self.agents.as_ref().is_none_or(|agents| agents.iter().any(|own| **own == *agent))
    }

    /// Who makes the request with these extensions. The kit has checked it before the handler hears of the
    /// request; what comes by no network at all comes from the owner.
    pub fn of(extensions: &rmcp::model::Extensions) -> Self {
        let told =
            extensions.get::<Self>().or_else(|| extensions.get::<http::request::Parts>()?.extensions.get());
        told.cloned().unwrap_or_else(Self::owner)
    }
}

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoKey,
    UnknownKey,
    /// Calls without a key are taken from this machine alone.
    Remote,
    BadTenant,
    BadAgents,
    OtherTenant {
        principal: Arc<str>,
        tenant: String,
        allowed: Vec<Arc<str>>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => {
                f.write_str("this server wants a key: send it in the header \"Authorization: Bearer KEY\"")
            }
            Self::UnknownKey => f.write_str(
                "this key is not known here, or not any more: ask whoever runs this server for one of its keys",
            ),
            Self::Remote => f.write_str(
                "this server has no keys and so answers its own machine alone: give it a keys file \
                 (callers.keysFile), or set callers.anonymous to network where strangers cannot reach it",
            ),
            Self::BadTenant => write!(f, "the header Mcp-Tenant must hold one tenant: {}", name_rule()),
            Self::BadAgents => write!(
                f,
                "there may be one header Mcp-Agents, with up to {MOST_AGENTS} agents and commas between them, each {}",
                agent_rule()
            ),
            Self::OtherTenant { principal, tenant, allowed } => write!(
                f,
                "the key of {principal} may not touch the tenant {tenant:?}; it may touch {}: name one of them in \
                 the header Mcp-Tenant, or leave it out",
                allowed.join(", ")
            ),
        }
    }
}

/// Decides about requests. Keys can be replaced while it does.
#[derive(Debug)]
pub(crate) enum Access {
    Keys(ArcSwap<Keyring>),
    Anonymous(Anonymous),
}

impl Access {
    /// What the settings say, with the keys as they are now and the file that is to be followed for them.
    ///
    /// # Errors
    /// Says why there are no keys: a server that was told to want them must not go on without.
    pub(crate) fn open(callers: &Callers) -> anyhow::Result<(Self, Option<Followed>)> {
        let Some(path) = &callers.keys_file else { return Ok((Self::Anonymous(callers.anonymous), None)) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the keys file {} (callers.keysFile) cannot be read", path.display()))?;
        let keys = Keyring::parse(&text)
            .map_err(|error| anyhow!("{} (callers.keysFile) is no keys file: {error}", path.display()))?;
        Ok((Self::Keys(ArcSwap::from_pointee(keys)), Some(Followed::read_before(path, &text))))
    }

    /// Who makes a request with these headers. `local` tells whether it comes from this machine.
    pub(crate) fn admit(&self, headers: &HeaderMap, local: bool) -> Result<Caller, Refusal> {
        let one_tenant = headers.contains_key(ONE_TENANT_HEADER);
        match self {
            Self::Keys(keys) => {
                let keys = keys.load();
                let key = keys.find(bearer(headers)?).ok_or(Refusal::UnknownKey)?;
                let tenant = match tenant(headers)? {
                    None => key.tenants.named.first().unwrap_or(&DEFAULT_TENANT).clone(),
                    Some(name) => key.tenants.get(name).ok_or_else(|| Refusal::OtherTenant {
                        principal: key.principal.clone(),
                        tenant: name.to_owned(),
                        allowed: key.tenants.named.clone(),
                    })?,
                };
                let every_tenant = key.tenants.every && !one_tenant;
                let agents = narrowed(key.agents.as_ref(), agents(headers)?);
                Ok(Caller { principal: key.principal.clone(), tenant, every_tenant, agents })
            }
            Self::Anonymous(Anonymous::Loopback) if !local => Err(Refusal::Remote),
            Self::Anonymous(_) => {
                let tenant = tenant(headers)?.map_or_else(|| DEFAULT_TENANT.clone(), Into::into);
                let agents = agents(headers)?;
                Ok(Caller { principal: OWNER.clone(), tenant, every_tenant: !one_tenant, agents })
            }
        }
    }
}

/// The agents of a key that a request means. What is asked for never adds to what the key may.
fn narrowed(own: Option<&Agents>, asked: Option<Agents>) -> Option<Agents> {
    match (own, asked) {
        (Some(own), Some(asked)) => Some(own.iter().filter(|agent| asked.contains(agent)).cloned().collect()),
        (own, asked) => asked.or_else(|| own.cloned()),
    }
}

/// The key of a request that has just one.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::NoKey) };
    let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len()).ok_or(Refusal::NoKey)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Refusal::NoKey);
    }
    Ok(key.trim_ascii())
}

fn tenant(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(TENANT_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let name = value.to_str().ok().filter(|name| is_name(name));
            name.map(Some).ok_or(Refusal::BadTenant)
        }
        (Some(_), Some(_)) => Err(Refusal::BadTenant),
    }
}

fn agents(headers: &HeaderMap) -> Result<Option<Agents>, Refusal> {
    let mut values = headers.get_all(AGENTS_HEADER).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| Refusal::BadAgents)?,
        (Some(_), Some(_)) => return Err(Refusal::BadAgents),
    };
    // Who names nobody means nobody, not everybody.
    let names = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    let names: Vec<&str> = names.take(MOST_AGENTS + 1).collect();
    if names.len() > MOST_AGENTS || !names.iter().all(|name| is_agent(name)) {
        return Err(Refusal::BadAgents);
    }
    Ok(Some(once(names.into_iter())))
}

/// Each of these agents once.
fn once<'a>(names: impl Iterator<Item = &'a str>) -> Agents {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(*name)).map(Arc::<str>::from).collect()
}

/// All keys, as digests: what lies in memory opens nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keyring(Vec<Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    digest: [u8; 32],
    principal: Arc<str>,
    tenants: Tenants,
    agents: Option<Agents>,
}

#[derive(Debug, PartialEq, Eq)]
struct Tenants {
    every: bool,
    named: Vec<Arc<str>>,
}

impl Tenants {
    fn get(&self, name: &str) -> Option<Arc<str>> {
        let named = self.named.iter().find(|tenant| &***tenant == name).cloned();
        named.or_else(|| self.every.then(|| name.into()))
    }
}

impl Keyring {
    /// The keys of a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let entries = Keys::parse(text)?.keys.into_iter().map(|key| Entry {
            digest: match (&key.key, &key.sha256) {
                (Some(key), _) => Sha256::digest(key.as_bytes()).into(),
                (None, hex) => unhex(hex.as_deref().unwrap_or_default()),
            },
            principal: key.principal.into(),
            tenants: Tenants {
                every: key.tenants.iter().any(|tenant| tenant == EVERY_TENANT),
                named: key
                    .tenants
                    .iter()
                    .filter(|tenant| *tenant != EVERY_TENANT)
                    .map(|it| (**it).into())
                    .collect(),
            },
            agents: key.agents.as_ref().map(|agents| once(agents.iter().map(String::as_str))),
        });
        let entries: Vec<_> = entries.collect();
        // One given as text and the other as its hash; the same texts were refused before.
        for (index, entry) in entries.iter().enumerate() {
            if let Some(other) = entries[..index].iter().position(|other| other.digest == entry.digest) {
                return Err(format!(
                    "keys[{index}] is the same key as keys[{other}]; each needs one of its own"
                ));
            }
        }
        Ok(Self(entries))
    }

    /// Takes the same time whichever key is asked for, known or not.
    fn find(&self, key: &[u8]) -> Option<&Entry> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = u64::MAX;
        for (index, entry) in (0u64..).zip(&self.0) {
            found.conditional_assign(&index, entry.digest.ct_eq(&digest));
        }
        self.0.get(usize::try_from(found).ok()?)
    }
}

/// The bytes of 64 hexadecimal digits, which were checked before.
fn unhex(hex: &str) -> [u8; 32] {
    let digit = |letter: u8| char::from(letter).to_digit(16).unwrap_or_default();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap_or_default();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const ALICE: &str = "the-key-of-alice-0001";
    const ROOT: &str = "the-key-of-root-00001";

    fn access() -> Access {
        let digest =
            Sha256::digest(ROOT).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let text = format!(
            "keys: [{{principal: alice, key: {ALICE}, tenants: [red, blue]}}, \
             {{principal: root, sha256: {digest}, tenants: ['*']}}]"
        );
        Access::Keys(ArcSwap::from_pointee(Keyring::parse(&text).expect("keys")))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn admit(pairs: &[(&'static str, &str)]) -> Result<Caller, Refusal> {
        access().admit(&headers(pairs), true)
    }

    fn of_every_tenant(principal: &str, tenant: &str) -> Caller {
        Caller { every_tenant: true, ..Caller::new(principal, tenant) }
    }

    #[test]
    fn a_key_names_its_principal_and_its_tenants() {
        let (alice, root) = (format!("Bearer {ALICE}"), format!("bearer  {ROOT}"));
        assert_eq!(admit(&[("authorization", &alice)]), Ok(Caller::new("alice", "red")));
        assert_eq!(
            admit(&[("authorization", &alice), ("mcp-tenant", "blue")]),
            Ok(Caller::new("alice", "blue"))
        );
        assert_eq!(admit(&[("authorization", &root)]), Ok(of_every_tenant("root", "default")));
        let any = admit(&[("authorization", &root), ("mcp-tenant", "any")]);
        assert_eq!(any, Ok(of_every_tenant("root", "any")));
        let other = admit(&[("authorization", &alice), ("mcp-tenant", "green")]).expect_err("not hers");
        assert!(
            other.to_string().contains("alice may not touch the tenant \"green\"; it may touch red, blue")
        );
        for bad in ["", "a b", "ü", "a,b"] {
            assert_eq!(
                admit(&[("authorization", &alice), ("mcp-tenant", bad)]),
                Err(Refusal::BadTenant),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_key_of_some_agents_names_those_alone_and_a_header_only_takes_away() {
        type Named = Result<Option<Vec<String>>, Refusal>;
        let text = format!(
            "keys: [{{principal: alice, key: {ALICE}, tenants: [red], agents: [a, b c, a]}}, \
             {{principal: root, key: {ROOT}, tenants: ['*']}}]"
        );
        let access = Access::Keys(ArcSwap::from_pointee(Keyring::parse(&text).expect("keys")));
        let named = |key: &str, lines: &[&str]| -> Named {
            let bearer = format!("Bearer {key}");
            let lines = lines.iter().map(|line| (AGENTS_HEADER, *line));
            let pairs: Vec<_> = lines.chain([("authorization", &*bearer)]).collect();
            let agents = access.admit(&headers(&pairs), true)?.agents;
            Ok(agents.map(|agents| agents.iter().map(|agent| (**agent).to_owned()).collect()))
        };
        let some =
            |agents: &[&str]| -> Named { Ok(Some(agents.iter().map(|agent| (*agent).to_owned()).collect())) };
        assert_eq!(named(ALICE, &[]), some(&["a", "b c"]));
        assert_eq!(named(ALICE, &["b c, other"]), some(&["b c"]));
        assert_eq!(named(ALICE, &["other"]), some(&[]), "nobody, and not everybody");
        assert_eq!(named(ALICE, &[""]), some(&[]));
        assert_eq!(named(ROOT, &[]), Ok(None));
        assert_eq!(named(ROOT, &["x,y,x"]), some(&["x", "y"]), "each once");
        assert_eq!(named(ROOT, &[""]), some(&[]));
        for bad in [&["a,,b"] as &[&str], &["*"], &["a*"], &["a", "b"]] {
            assert_eq!(named(ROOT, bad), Err(Refusal::BadAgents), "{bad:?}");
        }
        let many = ["a"; MOST_AGENTS + 1].join(",");
        assert_eq!(named(ROOT, &[many.as_str()]), Err(Refusal::BadAgents), "too many to ask for one by one");
        let open = Access::Anonymous(Anonymous::Network);
        let caller = open.admit(&headers(&[(AGENTS_HEADER, "a")]), false).expect("the owner");
        assert!(caller.may_name("a") && !caller.may_name("A") && !caller.may_name("a b"));
        assert!(Caller::owner().may_name("anybody"));
    }

    #[test]
    fn everything_is_theirs_whose_key_has_no_bounds_and_headers_only_take_away() {
        let (alice, root) = (format!("Bearer {ALICE}"), format!("Bearer {ROOT}"));
        let (alice, root) = (("authorization", alice.as_str()), ("authorization", root.as_str()));
        let owns_all = |pairs: &[(&'static str, &str)]| admit(pairs).map(|caller| caller.owns_all());
        assert_eq!(owns_all(&[root]), Ok(true));
        assert_eq!(owns_all(&[root, (TENANT_HEADER, "red")]), Ok(true), "it chooses, and may choose another");
        assert_eq!(owns_all(&[alice]), Ok(false));
        let narrower =
            [(AGENTS_HEADER, "a"), (AGENTS_HEADER, ""), (ONE_TENANT_HEADER, "true"), (ONE_TENANT_HEADER, "")];
        for header in narrower {
            assert_eq!(owns_all(&[root, header]), Ok(false), "{header:?}");
            let open = Access::Anonymous(Anonymous::Network);
            let caller = open.admit(&headers(&[header]), false).expect("the owner");
            assert!(Caller::owner().owns_all() && !caller.owns_all(), "{header:?}");
        }
    }

    #[test]
    fn anything_but_one_known_key_is_turned_away() {
        for (value, refusal) in [
            ("", Refusal::NoKey),
            ("Basic abc", Refusal::NoKey),
            ("Bearer", Refusal::NoKey),
            ("Bearer ", Refusal::UnknownKey),
            ("Bearer wrong", Refusal::UnknownKey),
            (ALICE, Refusal::NoKey),
        ] {
            assert_eq!(admit(&[("authorization", value)]), Err(refusal), "{value}");
        }
        assert_eq!(admit(&[]), Err(Refusal::NoKey));
        let twice = format!("Bearer {ALICE}");
        assert_eq!(admit(&[("authorization", &twice), ("authorization", &twice)]), Err(Refusal::NoKey));
    }

    #[test]
    fn without_keys_the_owner_calls_from_this_machine_or_from_a_trusted_network() {
        let own = Access::Anonymous(Anonymous::Loopback);
        assert_eq!(own.admit(&HeaderMap::new(), true), Ok(Caller::owner()));
        assert_eq!(own.admit(&HeaderMap::new(), false), Err(Refusal::Remote));
        let trusted = Access::Anonymous(Anonymous::Network);
        assert_eq!(trusted.admit(&headers(&[("mcp-tenant", "x")]), false), Ok(of_every_tenant("owner", "x")));
    }

    #[test]
    fn the_same_key_as_text_and_as_a_hash_is_refused() {
        let digest =
            Sha256::digest(ALICE).iter().fold(String::new(), |text, byte| format!("{text}{byte:02X}"));
        let text = format!(
            "keys: [{{principal: a, key: {ALICE}, tenants: [x]}}, {{principal: b, sha256: {digest}, tenants: [x]}}]"
        );
        assert!(Keyring::parse(&text).expect_err("twice").contains("the same key as keys[0]"));
    }

    proptest! {
        /// Whatever the header holds: nothing panics, and only the two keys open.
        #[test]
        fn only_the_keys_open(value in prop::collection::vec(0x20u8..=0xff, 0..64)) {
            let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 0x7f).collect();
            let header = HeaderValue::from_bytes(&value).expect("visible letters");
            let headers: HeaderMap = [(AUTHORIZATION, header)].into_iter().collect();
            prop_assert!(access().admit(&headers, true).is_err());
        }

        /// A key that differs in any one letter does not open.
        #[test]
        fn every_letter_of_a_key_counts(place in 0..ALICE.len(), letter in "[a-z0-9-]") {
            let mut key = ALICE.to_owned();
            key.replace_range(place..=place, &letter);
            let admitted = admit(&[("authorization", &format!("Bearer {key}"))]);
            prop_assert_eq!(admitted.is_ok(), key == ALICE);
        }
    }
}
