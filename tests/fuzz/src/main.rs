//! A target under libFuzzer, which keeps what reaches new code: `make fuzz`. `FUZZ_TARGET` names it; the arguments are
//! libFuzzer's own.
#![no_main]

use std::sync::LazyLock;

use fuzz::rng::Rng;
use fuzz::{Target, inputs, mutate, target};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET names no target: {name:?}"))
});

static CORPUS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| inputs(TARGET.name));

fuzz_target!(|data: &[u8]| (TARGET.run)(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::new(u64::from(seed));
    if rng.one_in(2) {
        return fuzzer_mutate(data, size, max_size);
    }
    let other = &rng.of(&CORPUS).1;
    let made = mutate::mutated(&mut rng, &data[..size], other, TARGET.json);
    let size = made.len().min(max_size);
    data[..size].copy_from_slice(&made[..size]);
    size
});
