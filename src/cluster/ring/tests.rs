//! Spread, movement, zones and health; and tokens and owners that must never change.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn member(name: &str, zone: &str) -> Member {
    Member { id: NodeId::new(name), zone: zone.into(), state: MemberState::Active, healthy: true }
}

fn names(count: usize, salt: u64) -> Vec<Member> {
    (0..count).map(|n| member(&format!("hearth-{salt}-{n}"), "")).collect()
}

/// Keys as they come: hashes of label sets.
fn keys(count: u64, salt: u64) -> impl Iterator<Item = Key> {
    let tenant = TenantId::anonymous();
    (0..count).map(move |n| {
        let series = LabelHash::of_canonical(&(n ^ salt << 32).to_le_bytes());
        Key::of_series(&tenant, series)
    })
}

fn owner(ring: &Ring, key: Key) -> &str {
    ring.replica_set(key, Operation::Write).members[0].id.as_str()
}

/// Keys per member, over `ranks` replicas each; most loaded over least loaded.
fn spread(ring: &Ring, keys: impl Iterator<Item = Key>) -> f64 {
    let mut load: HashMap<&str, u64> = ring.members().iter().map(|member| (member.id.as_str(), 0)).collect();
    for key in keys {
        for member in ring.replica_set(key, Operation::Write).members {
            *load.get_mut(member.id.as_str()).unwrap() += 1;
        }
    }
    let (most, least) = (load.values().max().unwrap(), load.values().min().unwrap());
    *most as f64 / *least as f64
}

/// Tokens and owners are stored nowhere: if they change, every series moves.
#[test]
fn tokens_and_owners_are_what_they_always_were() {
    let node = NodeId::new("hearth-0");
    let tokens: Vec<u64> = (0..4).map(|index| node.token(index)).collect();
    assert_eq!(tokens, GOLDEN_TOKENS);
    let ring = Ring::new(names(5, 1), 3);
    let series = LabelHash::of_pairs([("__name__", "up"), ("job", "node")], &mut Vec::new());
    let set = ring.replica_set(Key::of_series(&TenantId::anonymous(), series), Operation::Write);
    assert_eq!(set.members.iter().map(|member| member.id.as_str()).collect::<Vec<_>>(), GOLDEN_OWNERS);
}

const GOLDEN_TOKENS: [u64; 4] = [11231758957184426733, 10073902822778791780, 2853242940410341371, 16832290879432646393];
const GOLDEN_OWNERS: [&str; 3] = ["hearth-1-1", "hearth-1-2", "hearth-1-3"];

#[test]
fn load_is_spread_evenly_over_any_number_of_members() {
    for count in [2, 3, 5, 10, 17, 30] {
        let found = spread(&Ring::new(names(count, 7), 1), keys(4_000 * count as u64, 1));
        assert!(found <= 1.25, "{count} members: {found}");
    }
}

#[test]
fn load_of_three_replicas_is_spread_evenly_with_and_without_zones() {
    let without = Ring::new(names(12, 3), 3);
    let zones: Vec<Member> = (0..12).map(|n| member(&format!("hearth-{n}"), ["a", "b", "c"][n % 3])).collect();
    for ring in [without, Ring::new(zones, 3)] {
        let found = spread(&ring, keys(20_000, 2));
        assert!(found <= 1.25, "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_member_that_joins_or_leaves_moves_its_share_and_nothing_else(count in 1usize..30, salt: u16) {
        let before = Ring::new(names(count, salt.into()), 1);
        let after = Ring::new(names(count + 1, salt.into()), 1);
        let newcomer = format!("hearth-{salt}-{count}");
        let total = 3_000;
        let mut moved = 0;
        for key in keys(total, salt.into()) {
            let (old, new) = (owner(&before, key), owner(&after, key));
            if old != new {
                prop_assert_eq!(new, &newcomer, "a key moved between members that stayed");
                moved += 1;
            }
        }
        let share = moved as f64 / total as f64;
        prop_assert!(share <= 1.0 / (count + 1) as f64 + 0.05, "{share} of the keys moved with {count} members");
    }

    #[test]
    fn any_members_spread_their_load(count in 2usize..31, salt: u32) {
        let found = spread(&Ring::new(names(count, salt.into()), 1), keys(2_500 * count as u64, salt.into()));
        prop_assert!(found <= 1.25, "{count} members: {found}");
    }

    #[test]
    fn with_three_replicas_a_member_that_leaves_is_replaced_and_the_others_stay(count in 4usize..20, salt: u16) {
        let zoned = |n: usize| member(&format!("{salt}-{n}"), ["a", "b", "c", "d"][n % 4]);
        let all = Ring::new((0..count).map(zoned), 3);
        let fewer = Ring::new((1..count).map(zoned), 3);
        let gone = format!("{salt}-0");
        for key in keys(300, salt.into()) {
            let (old, new) = (all.replica_set(key, Operation::Write), fewer.replica_set(key, Operation::Write));
            let lost = old.members.iter().filter(|member| !new.members.contains(member)).count();
            let held = old.members.iter().any(|member| member.id.as_str() == gone);
            prop_assert!(if held { lost <= 2 } else { lost == 0 }, "{old:?} {new:?}");
        }
    }

    #[test]
    fn replicas_are_distinct_and_of_distinct_zones_while_there_are_enough(
        zones in prop::collection::vec(0usize..4, 1..12),
        unhealthy in prop::collection::vec(any::<bool>(), 12),
        factor in 1usize..5,
        n: u64,
    ) {
        let members = zones.iter().enumerate().map(|(index, zone)| Member {
            healthy: !unhealthy[index],
            ..member(&format!("node-{index}"), &format!("zone-{zone}"))
        });
        let ring = Ring::new(members, factor);
        let key = keys(1, n).next().unwrap();
        let set = ring.replica_set(key, Operation::Write);

        let able: Vec<&Member> = ring.members().iter().filter(|member| member.healthy).collect();
        let zones_able: std::collections::HashSet<&str> = able.iter().map(|member| member.zone.as_str()).collect();
        let zones_chosen: std::collections::HashSet<&str> = set.members.iter().map(|member| member.zone.as_str()).collect();
        let ids: std::collections::HashSet<&NodeId> = set.members.iter().map(|member| &member.id).collect();
        prop_assert_eq!(set.wanted, factor.min(zones.len()));
        prop_assert_eq!(ids.len(), set.members.len());
        prop_assert_eq!(set.members.len(), able.len().min(set.wanted));
        prop_assert_eq!(zones_chosen.len(), zones_able.len().min(set.members.len()));
        prop_assert!(set.members.iter().all(|member| member.healthy));
    }
}

#[test]
fn a_member_that_does_not_answer_keeps_its_place_and_others_stand_in() {
    let whole = Ring::new(names(5, 9), 2);
    for key in keys(200, 5) {
        let before: Vec<NodeId> =
            whole.replica_set(key, Operation::Write).members.iter().map(|member| member.id.clone()).collect();
        let mut members = whole.members().to_vec();
        members.iter_mut().find(|member| member.id == before[0]).unwrap().healthy = false;
        let limping = Ring::new(members, 2);
        let after = limping.replica_set(key, Operation::Write);
        assert_eq!(after.members[0].id, before[1], "the other replica stays one");
        assert_eq!(after.members.len(), 2);
        assert_ne!(after.members[1].id, before[0]);
    }
}

#[test]
fn states_decide_who_is_written_to_and_who_is_read_from() {
    use MemberState::{Active, Joining, Leaving, ReadOnly};
    let states = [Joining, Active, Leaving, ReadOnly];
    let members = states.iter().map(|state| Member { state: *state, ..member(&format!("{state:?}"), "") });
    let ring = Ring::new(members, 4);
    let key = keys(1, 1).next().unwrap();
    let serving = |operation| {
        let mut names: Vec<&str> =
            ring.replica_set(key, operation).members.iter().map(|member| member.id.as_str()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(serving(Operation::Write), ["Active"]);
    assert_eq!(serving(Operation::Read), ["Active", "Leaving", "ReadOnly"]);
    assert!(!ring.replica_set(key, Operation::Write).has_quorum());
    assert!(ring.replica_set(key, Operation::Read).has_quorum());
}

#[test]
fn one_member_holds_everything_and_none_holds_nothing() {
    let ring = Ring::of_one(NodeId::new("only"));
    let key = keys(1, 1).next().unwrap();
    assert_eq!(owner(&ring, key), "only");
    assert_eq!(ring.sole_member().map(|member| member.id.as_str()), Some("only"));
    assert_eq!(ring.replica_set(key, Operation::Write).quorum(), 1);

    let empty = Ring::new([], 3);
    assert!(empty.sole_member().is_none());
    assert!(empty.replica_set(key, Operation::Read).members.is_empty());
    assert!(!empty.replica_set(key, Operation::Read).has_quorum());
}

#[test]
fn of_two_members_of_one_name_the_last_counts() {
    let ring = Ring::new([member("a", "old"), member("b", ""), member("a", "new")], 1);
    let zones: Vec<&str> = ring.members().iter().map(|member| member.zone.as_str()).collect();
    assert_eq!(zones, ["new", ""]);
}
