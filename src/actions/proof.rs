//! PURE. Whether what people say is theirs (DESIGN §7), asked for as long as somebody needs to know it.

use crate::actions::Out;
use crate::effect::{Read, ReadKey};
use crate::world::{Proof, Proven, Reading, World};

/// Length of a slot in seconds: at most one answer is asked for in each.
const SLOT: i64 = 5;
/// An answer is used for so many slots before the next one is asked for. `Unknown` is asked again in the next slot.
const FRESH: i64 = 6;
/// An answer is used for so many slots at most, while the next one has not come.
const STANDS: i64 = 12;

/// The last answer; none where there is none yet. A new one is asked for in time.
pub(crate) fn ask<'a>(world: &'a World, out: &mut Out) -> Option<&'a Proof> {
    let slot = world.now.as_second().div_euclid(SLOT);
    let of = |slot: i64| match world.readings.get(&ReadKey::Proof(slot)) {
        Some(Reading::Proof(proof)) => Some((slot, proof)),
        _ => None,
    };
    let known = (slot - STANDS..=slot).rev().find_map(of);
    let lasts = match known {
        Some((_, Proof { verdict: Proven::Unknown(_), .. })) => 1,
        Some(_) => FRESH,
        None => 0,
    };
    let next = known.map_or(slot, |(at, _)| at + lasts);
    if let Some((at, _)) = known {
        out.reads.insert(ReadKey::Proof(at), Read::Proof);
    }
    if next <= slot {
        out.reads.insert(ReadKey::Proof(slot), Read::Proof);
    }
    if let Ok(at) = jiff::Timestamp::from_second((next.max(slot + 1)) * SLOT) {
        out.wake_at(at);
    }
    known.map(|(_, proof)| proof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, proof};

    fn asked(f: &Fixture) -> (Option<Proven>, Vec<String>) {
        let mut out = Out::default();
        let known = ask(&f.world, &mut out).map(|proof| proof.verdict.clone());
        (known, out.reads.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn an_answer_lasts_half_a_minute_and_stands_until_the_next_one_is_there() {
        let mut f = Fixture::new();
        f.world.readings.clear();
        let slot = f.world.now.as_second().div_euclid(SLOT);
        let pass = |f: &mut Fixture, seconds| f.world.now += jiff::SignedDuration::from_secs(seconds);
        let key = |after: i64| ReadKey::Proof(slot + after).to_string();
        assert_eq!(asked(&f), (None, vec![key(0)]));
        f.world.readings.insert(ReadKey::Proof(slot), Reading::Proof(proof(Proven::Holds)));
        assert_eq!(asked(&f), (Some(Proven::Holds), vec![key(0)]));
        pass(&mut f, 29);
        assert_eq!(asked(&f).1, [key(0)]);
        pass(&mut f, 6);
        let (known, reads) = asked(&f);
        assert_eq!((known, reads.len()), (Some(Proven::Holds), 2), "{reads:?}");
        pass(&mut f, 60);
        assert_eq!(asked(&f).0, None, "it is too old");
    }

    #[test]
    fn what_could_not_be_found_out_is_asked_again_soon() {
        let mut f = Fixture::new();
        let slot = f.world.now.as_second().div_euclid(SLOT);
        let unknown = Proven::Unknown("503".into());
        f.finds(proof(unknown.clone()));
        assert_eq!(asked(&f).1.len(), 1);
        f.world.now += jiff::SignedDuration::from_secs(SLOT);
        assert_eq!(
            asked(&f),
            (Some(unknown), vec![ReadKey::Proof(slot).to_string(), ReadKey::Proof(slot + 1).to_string()])
        );
    }
}
