//! `rejoin demo`: the verdict is the exit code, and programs can read it.

use std::time::{Duration, Instant};

use crate::program::{run, start};

#[test]
fn the_fast_demo_passes_and_its_document_says_so() {
    let begin = Instant::now();
    let ended = run(&["demo", "--fast", "--json", "--seed", "7"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(15), "--fast is 6 s: {:?}", begin.elapsed());
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(document["verdict"], "pass", "{document:#}");
    assert_eq!(document["seed"], 7, "{document:#}");
    for word in ["injected", "lost", "recovered", "PASS"] {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {}", ended.stderr);
    }
}

#[test]
fn without_a_terminal_it_tells_the_story_in_lines() {
    let ended = run(&["demo", "--fast", "--no-plain"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains('\u{1b}'), "no control sequences: {}", ended.stdout);
    assert!(ended.stdout.contains("PASS  published") && ended.stdout.contains("lost 0"), "{}", ended.stdout);
    assert!(ended.stdout.contains("times scaled down"), "the time constants are said: {}", ended.stdout);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_demo_soon_and_as_a_signal() {
    let mut program = start(&["demo", "--no-tui"]);
    program.printed("open");
    program.signal("INT");
    let begin = Instant::now();
    let ended = program.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn a_wrong_flag_is_told_before_anything_starts() {
    for (words, part) in [
        (&["demo", "--qos", "3"][..], "--qos"),
        (&["demo", "--seed", "x"], "--seed"),
        (&["demo", "x"], "`x`"),
    ] {
        let ended = run(words);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(part) || ended.stderr.contains("'x'"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
