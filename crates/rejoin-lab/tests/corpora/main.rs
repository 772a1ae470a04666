//! The corpora of the fuzz targets, replayed: what a fuzzer once found stays found, on any machine and without a fuzzer.
#![allow(unreachable_pub, unused_qualifications, missing_docs, reason = "the sources of another package")]

#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

#[test]
fn every_input_of_every_corpus_passes_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in fuzz::TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpora.join(name)).expect("each target has a corpus") {
            let path = entry.expect("the corpus can be read").path();
            let input = std::fs::read(&path).expect("an input is a file");
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("{name}: {} fails", path.display());
            }
            inputs += 1;
        }
        assert!(inputs >= 10, "{name}: only {inputs} inputs");
    }
}

#[test]
fn every_target_takes_nothing_and_noise() {
    let mut word = 0x9E37_79B9_7F4A_7C15_u64;
    for (_, target) in fuzz::TARGETS {
        target(&[]);
        for length in 0..200 {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    word ^= word << 13;
                    word ^= word >> 7;
                    word ^= word << 17;
                    word.to_le_bytes()[3]
                })
                .collect();
            target(&noise);
        }
    }
}
