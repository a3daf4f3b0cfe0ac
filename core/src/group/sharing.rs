//! Who of a group gets what: partitions of streams, messages of memory topics.
//!
//! Partitions stay where they are as far as a fair share allows: the numbers of any two members differ by one at
//! most, and none moves that need not.

use std::collections::HashMap;

use super::MemberId;

/// How much a member of a group that shares messages could take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberLoad {
    /// Which.
    pub member: MemberId,
    /// Messages that it holds.
    pub held: usize,
    /// Messages that it may still be given.
    pub room: usize,
}

/// The owner that each partition is to have; `owners` are those that they have. Members come in the order in
/// which they joined. Without a member nobody owns anything.
#[must_use]
pub fn assign(owners: &[Option<MemberId>], members: &[MemberId]) -> Vec<Option<MemberId>> {
    if members.is_empty() {
        return vec![None; owners.len()];
    }
    let (least, more) = (owners.len() / members.len(), owners.len() % members.len());
    let mut counts: HashMap<MemberId, usize> = members.iter().map(|each| (*each, 0)).collect();
    for owner in owners.iter().flatten() {
        if let Some(count) = counts.get_mut(owner) {
            *count += 1;
        }
    }
    // Whoever has more than the others already keeps one more, then who joined first: so nothing moves in vain.
    let mut by_count: Vec<MemberId> = members.to_vec();
    by_count.sort_by_key(|member| std::cmp::Reverse(counts.get(member).copied()));
    let quotas = by_count.iter().enumerate();
    let quotas = quotas.map(|(place, member)| (*member, least + usize::from(place < more)));
    let mut quotas: HashMap<MemberId, usize> = quotas.collect();
    let mut take = |member: &MemberId| match quotas.get_mut(member) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    let mut assigned: Vec<Option<MemberId>> =
        owners.iter().map(|owner| owner.filter(&mut take)).collect();
    for open in assigned.iter_mut().filter(|owner| owner.is_none()) {
        *open = members.iter().copied().find(&mut take);
    }
    assigned
}

/// Whom the next messages go to, and how many: to the one that holds least, and no more than a fair share of
/// what is there. `None` when nobody has room.
#[must_use]
pub fn share(available: usize, members: &[MemberLoad]) -> Option<(MemberId, usize)> {
    let with_room = || members.iter().filter(|load| load.room > 0);
    let next = with_room().min_by_key(|load| (load.held, load.member))?;
    let fair = available.div_ceil(with_room().count().max(1));
    (available > 0).then_some((next.member, next.room.min(fair)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: &[u64]) -> Vec<MemberId> {
        numbers.iter().map(|number| MemberId(*number)).collect()
    }

    #[test]
    fn a_member_that_comes_takes_its_share_and_the_rest_stays() {
        let owners = assign(&[None; 6], &ids(&[1, 2]));
        let of = |owners: &[Option<MemberId>]| {
            owners.iter().map(|owner| owner.map_or(0, |owner| owner.0)).collect::<Vec<_>>()
        };
        assert_eq!(of(&owners), [1, 1, 1, 2, 2, 2]);
        let owners = assign(&owners, &ids(&[1, 2, 3]));
        assert_eq!(of(&owners), [1, 1, 3, 2, 2, 3]);
        let owners = assign(&owners, &ids(&[1, 3]));
        assert_eq!(of(&owners), [1, 1, 3, 1, 3, 3]);
        assert_eq!(assign(&owners, &[]), [None; 6]);
    }

    #[test]
    fn messages_go_to_who_holds_least_and_in_fair_shares() {
        let load = |member, held, room| MemberLoad { member: MemberId(member), held, room };
        let check = |available, loads: &[MemberLoad], expected: Option<(u64, usize)>| {
            let found = share(available, loads).map(|(member, count)| (member.0, count));
            assert_eq!(found, expected);
        };
        check(10, &[load(1, 5, 100), load(2, 3, 100)], Some((2, 5)));
        check(10, &[load(1, 5, 100), load(2, 3, 0)], Some((1, 10)));
        check(10, &[load(1, 0, 2), load(2, 0, 100)], Some((1, 2)));
        check(1, &[load(1, 0, 2), load(2, 0, 100)], Some((1, 1)));
        check(10, &[load(1, 0, 0)], None);
        check(0, &[load(1, 0, 1)], None);
    }

    proptest! {
        #[test]
        fn shares_are_fair_and_nothing_moves_in_vain(
            partitions in 0..40_usize,
            changes in prop::collection::vec(prop::collection::btree_set(0..9_u64, 0..9), 1..8),
        ) {
            let mut owners = vec![None; partitions];
            for members in changes {
                let members: Vec<MemberId> = members.into_iter().map(MemberId).collect();
                let assigned = assign(&owners, &members);
                let count = |owners: &[Option<MemberId>], member: MemberId| {
                    owners.iter().filter(|owner| **owner == Some(member)).count()
                };
                if members.is_empty() {
                    prop_assert!(assigned.iter().all(Option::is_none));
                } else {
                    let counts = members.iter().map(|member| count(&assigned, *member));
                    let (least, most) = (counts.clone().min(), counts.max());
                    prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
                    let is_member = |id: &Option<MemberId>| id.is_some_and(|id| members.contains(&id));
                    prop_assert!(assigned.iter().all(is_member));
                    // A member loses only what is beyond the larger share.
                    for member in &members {
                        let had = count(&owners, *member);
                        let pairs = owners.iter().zip(&assigned);
                        let kept = pairs.filter(|(was, is)| *was == *is && **is == Some(*member));
                        let kept = kept.count();
                        let share = count(&assigned, *member);
                        prop_assert_eq!(kept, had.min(share));
                    }
                }
                owners = assigned;
            }
        }
    }
}
