//! The ring: which members hold a series.
//!
//! A member has [`TOKENS_DEFAULT`] points on a circle of 2⁶⁴ places, derived from its name alone, so that nobody has to be
//! told of them and no membership change moves those of another member. A key does not start at one place of the circle
//! but at [`PROBES`] places, and prefers members by the distance from any of those places clockwise to the member's next
//! token. That is multi-probe consistent hashing (Appleton and O'Reilly, 2015) with virtual tokens:
//!
//! ```text
//!   key ─┬─ probe 1 ───────▸ token of b           distance 7
//!        ├─ probe 2 ─▸ token of c                 distance 2   ◂ c is preferred, then a, then b
//!        └─ probe 3 ────▸ token of a ──▸ …        distance 4
//! ```
//!
//! Measured with 128 tokens and 3 to 30 members, the load of the most loaded over that of the least: 1.1 to 1.5 with one
//! probe, 1.0 to 1.3 with two, 1.0 to 1.2 with four, 1.02 to 1.15 with eight. Keys move only to a member that joins or from
//! one that leaves, and about 1/N of them.
//!
//! Pure: membership and health come from outside. Invariant: the answer depends on the members' names, zones and states and
//! on the key, never on their order or on time; names of nodes and [`LabelHash`] are stable across versions.

use model::tenant::TenantId;
use std::fmt;
use std::sync::Arc;
use storage::append::LabelHash;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Tokens of a member.
pub const TOKENS_DEFAULT: u32 = 128;

/// Places of the circle at which the search for a key's members starts.
const PROBES: usize = 8;

/// The name of a node, which it keeps across restarts and address changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token with this index: a place on the circle.
    #[must_use]
    pub fn token(&self, index: u32) -> u64 {
        xxh3_64_with_seed(self.0.as_bytes(), u64::from(index))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a member of the ring is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Fetches what it is going to hold; neither written to nor read from.
    Joining,
    /// Written to and read from.
    Active,
    /// Read from until others have what it holds.
    Leaving,
    /// Read from; takes no writes until told otherwise.
    ReadOnly,
}

/// A node as the ring sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Where it runs: members of one zone may fail together. May be empty.
    pub zone: String,
    /// What it is ready for.
    pub state: MemberState,
    /// Whether it answers. One that does not keeps its place and is passed over.
    pub healthy: bool,
}

/// What replicas are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// To store samples.
    Write,
    /// To read what was stored.
    Read,
}

impl Member {
    fn takes(&self, operation: Operation) -> bool {
        let ready = match self.state {
            MemberState::Active => true,
            MemberState::Leaving | MemberState::ReadOnly => operation == Operation::Read,
            MemberState::Joining => false,
        };
        ready && self.healthy
    }
}

/// The members that one key is written to or read from, the most preferred first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet<'a> {
    /// At most as many as the replication factor; fewer when not enough members can serve.
    pub members: Vec<&'a Member>,
    /// How many there would be if all members could serve.
    pub wanted: usize,
}

impl ReplicaSet<'_> {
    /// How many of them must answer: the majority of those wanted.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.wanted / 2 + 1
    }

    /// Whether enough members can serve.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        self.members.len() >= self.quorum()
    }
}

/// The place of a key: hash of tenant and series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a tenant's series.
    #[must_use]
    pub fn of_series(tenant: &TenantId, series: LabelHash) -> Self {
        // The low half of the hash seeds, the high half is mixed in: both halves count whatever the tenant is.
        let hash = xxh3_128_with_seed(tenant.as_str().as_bytes(), series.0 as u64);
        Self(hash ^ (series.0 >> 64))
    }

    /// Where the search starts for the n-th time.
    fn probe(self, n: usize) -> u64 {
        let (low, high) = (self.0 as u64, (self.0 >> 64) as u64);
        mix(low.wrapping_add((high | 1).wrapping_mul(n as u64 + 1)))
    }
}

/// Spreads every bit over all others: the finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A snapshot of the members and their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// In ascending order of names.
    members: Vec<Member>,
    /// In ascending order: place and index of the member.
    tokens: Vec<(u64, u32)>,
    replication_factor: usize,
}

impl Ring {
    /// A ring in which every key has `replication_factor` replicas, or as many as there are members. Of members with one
    /// name the last counts.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>, replication_factor: usize) -> Self {
        Self::with_tokens(members, replication_factor, TOKENS_DEFAULT)
    }

    /// [`Ring::new`] with another number of tokens for each member; all nodes of a cluster must agree on it.
    #[must_use]
    pub fn with_tokens(
        members: impl IntoIterator<Item = Member>,
        replication_factor: usize,
        tokens_per_member: u32,
    ) -> Self {
        let mut sorted: Vec<Member> = members.into_iter().collect();
        sorted.reverse();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        sorted.dedup_by(|later, first| later.id == first.id);
        let mut tokens: Vec<(u64, u32)> = (0u32..)
            .zip(&sorted)
            .flat_map(|(index, member)| (0..tokens_per_member).map(move |n| (member.id.token(n), index)))
            .collect();
        tokens.sort_unstable();
        Self { members: sorted, tokens, replication_factor: replication_factor.max(1) }
    }

    /// The ring of a process that is alone.
    #[must_use]
    pub fn of_one(id: NodeId) -> Self {
        Self::new([Member { id, zone: String::new(), state: MemberState::Active, healthy: true }], 1)
    }

    /// All members, in ascending order of names.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member that holds every series, if there is only one.
    #[must_use]
    pub fn sole_member(&self) -> Option<&Member> {
        match self.members.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The members to write a series to or to read it from: by preference, of distinct zones as far as there are enough.
    /// Members that cannot serve are passed over, so that others stand in for them.
    #[must_use]
    pub fn replica_set(&self, key: Key, operation: Operation) -> ReplicaSet<'_> {
        let wanted = self.replication_factor.min(self.members.len());
        let mut chosen: Vec<&Member> = Vec::with_capacity(wanted);
        let mut same_zone: Vec<&Member> = Vec::new();
        for member in self.preference(key).filter(|member| member.takes(operation)) {
            if chosen.iter().any(|other| other.zone == member.zone) {
                same_zone.push(member);
            } else {
                chosen.push(member);
            }
            if chosen.len() == wanted {
                break;
            }
        }
        let missing = wanted - chosen.len();
        chosen.extend(same_zone.into_iter().take(missing));
        ReplicaSet { members: chosen, wanted }
    }

    /// All members, the one nearest to the key first.
    fn preference(&self, key: Key) -> Preference<'_> {
        let cursors = std::array::from_fn(|n| {
            let from = key.probe(n);
            let next = self.tokens.partition_point(|(token, _)| *token < from);
            Cursor { from, next, walked: 0 }
        });
        Preference { ring: self, cursors, seen: vec![false; self.members.len()], left: self.members.len() }
    }

    /// The token at an index that may lie beyond the end of the circle.
    fn token(&self, index: usize) -> (u64, u32) {
        self.tokens[index % self.tokens.len()]
    }
}

/// Walks clockwise from all probes of a key at once and yields each member when its first token is reached.
struct Preference<'a> {
    ring: &'a Ring,
    cursors: [Cursor; PROBES],
    seen: Vec<bool>,
    left: usize,
}

struct Cursor {
    from: u64,
    next: usize,
    walked: usize,
}

impl<'a> Iterator for Preference<'a> {
    type Item = &'a Member;

    fn next(&mut self) -> Option<&'a Member> {
        let ring = self.ring;
        while self.left > 0 {
            let distance = |cursor: &Cursor| ring.token(cursor.next).0.wrapping_sub(cursor.from);
            let unfinished = self.cursors.iter_mut().filter(|cursor| cursor.walked < ring.tokens.len());
            let nearest = unfinished.min_by_key(|cursor| distance(cursor))?;
            let (_, member) = ring.token(nearest.next);
            nearest.next += 1;
            nearest.walked += 1;
            let seen = &mut self.seen[member as usize];
            if !*seen {
                *seen = true;
                self.left -= 1;
                return Some(&ring.members[member as usize]);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
