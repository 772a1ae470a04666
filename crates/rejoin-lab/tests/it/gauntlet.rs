//! The line protocol of the gauntlet, with a program that says what it is told.

use std::path::Path;
use std::time::Duration;

use rejoin_lab::gauntlet::{ROWS, Subject};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_a_client_says_is_understood_line_by_line() {
    let mut subject = Subject::start(Path::new("/bin/cat")).unwrap();
    for line in ["up", "acked 1", "refused 2 too large", "failed 3 gone", "failed 1 no: acked", "message 7"] {
        subject.tell(line);
    }
    assert!(subject.until(LIMIT, |said| said.received == [7]).await);
    let said = subject.said();
    assert_eq!((said.ups, said.acked(), said.failed()), (1, 0, 3), "the last word on a message counts");
    subject.tell("burst-taken 100 250");
    assert!(subject.until(LIMIT, |said| said.burst == Some(Duration::from_millis(250))).await);
    subject.tell("nonsense");
    subject.tell("down reset by peer");
    assert_eq!(subject.hear("down", LIMIT).await.as_deref(), Some("reset by peer"));
    assert_eq!(subject.hear("up", Duration::from_millis(50)).await, None, "nothing more was said");
    assert!(subject.memory().is_some_and(|bytes| bytes > 0));
}

#[test]
fn rows_are_numbered_once_and_in_order() {
    let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
}
