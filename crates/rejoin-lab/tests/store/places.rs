//! The folder: who may have it, and what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rejoin::store::{Folder, Identity, Record, Store, StoreError};
use rejoin_core::{Publication, PublishId, Qos, Text, TopicName};

use crate::folder::Scratch;
use crate::skipped::skipped;

pub(crate) fn enqueued(id: u64, topic: &str) -> Record {
    let mut publication = Publication::new(TopicName::new(topic.to_owned()).unwrap(), "payload");
    publication.qos = Qos::AtLeastOnce;
    Record::Enqueued { id: PublishId(id), publication, accepted_wall_ms: 1_790_000_000_000 }
}

fn anybody() -> Identity {
    Identity::default()
}

fn client(id: &str, servers: &[&str]) -> Identity {
    let servers = servers.iter().map(|server| (*server).to_owned()).collect();
    Identity { client_id: Some(Text::try_from(id).unwrap()), servers }
}

fn refusal(result: Result<Folder, StoreError>) -> String {
    let error = result.expect_err("it is to be refused");
    assert!(error.is_fatal());
    error.to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_can_read_it() {
    let scratch = Scratch::new();
    let folder = scratch.join("a/b/queue");
    let queue = Folder::open(&folder, &anybody()).unwrap();
    assert_eq!(mode(&folder), 0o700);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for path in names {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    drop(queue);
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let scratch = Scratch::new();
    let folder = scratch.join("shared");
    fs::create_dir(&folder).unwrap();
    for bits in [0o720, 0o702, 0o777] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(bits)).unwrap();
        assert!(refusal(Folder::open(&folder, &anybody())).contains("chmod go-w"));
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    Folder::open(&folder, &anybody()).unwrap();
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &anybody()).unwrap());
    for name in ["queue.redb", "queue.lock", "queue.format"] {
        for bits in [0o620, 0o602, 0o666] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(bits)).unwrap();
            let error = refusal(Folder::open(&folder, &anybody()));
            assert!(error.contains(&format!("`{name}` in it; `chmod go-w`")), "{error}");
            refusal(Folder::visit(&folder));
        }
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        Folder::open(&folder, &anybody()).unwrap();
    }
}

/// A user who made a queue for others to fill would read all of it.
#[test]
fn what_another_user_made_is_refused_though_everybody_may_use_it() {
    const OTHER: u32 = 54_321;
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &anybody()).unwrap());
    let us = Some(fs::metadata(&folder).unwrap().uid());
    let all = ["queue.redb", "queue.lock", "queue.format"].map(|name| folder.join(name));
    if chown(&folder, Some(OTHER), None).is_err() {
        skipped("files of another user", "it needs root");
        return;
    }
    let theirs = refusal(Folder::open(&folder, &anybody()));
    assert!(theirs.contains("it belongs to another user"), "{theirs}");
    for name in &all {
        chown(name, Some(OTHER), None).unwrap();
    }
    let before = fs::read(&all[1]).unwrap();
    for opened in [Folder::open(&folder, &anybody()), Folder::visit(&folder)] {
        let error = refusal(opened);
        assert!(error.contains("it belongs to another user"), "{error}");
    }
    assert_eq!(fs::read(&all[1]).unwrap(), before, "nothing of theirs was touched");
    let aside = scratch.join("aside");
    fs::rename(&all[1], &aside).unwrap();
    refusal(Folder::open(&folder, &anybody()));
    assert!(!all[1].exists(), "nor is anything of ours put there");
    fs::rename(&aside, &all[1]).unwrap();
    // Whoever has it in use is told first, and answers at its door.
    let client = fs::File::open(&all[1]).unwrap();
    client.lock().unwrap();
    assert!(refusal(Folder::visit(&folder)).contains("in use by"));
    drop(client);
    // A folder of ours with one file in it that is not.
    chown(&folder, us, None).unwrap();
    for name in &all {
        let error = refusal(Folder::open(&folder, &anybody()));
        assert!(error.contains("in it belongs to another user"), "{error}");
        chown(name, us, None).unwrap();
    }
    Folder::open(&folder, &anybody()).unwrap();
}

#[test]
fn no_symbolic_link_is_followed() {
    let scratch = Scratch::new();
    let folder = scratch.join("real");
    drop(Folder::open(&folder, &anybody()).unwrap());
    symlink(&folder, scratch.join("link")).unwrap();
    assert!(refusal(Folder::open(scratch.join("link"), &anybody())).contains("symbolic link"));

    for name in ["queue.redb", "queue.lock", "queue.format"] {
        let moved = scratch.join("moved");
        fs::rename(folder.join(name), &moved).unwrap();
        symlink(&moved, folder.join(name)).unwrap();
        refusal(Folder::open(&folder, &anybody()));
        fs::rename(&moved, folder.join(name)).unwrap();
    }
    Folder::open(&folder, &anybody()).unwrap();
}

#[test]
fn a_second_client_is_told_who_has_it() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    let first = Folder::open(&folder, &anybody()).unwrap();
    let error = refusal(Folder::open(&folder, &anybody()));
    assert!(error.contains(&format!("in use by process {}, since 20", std::process::id())), "{error}");
    drop(first);
    Folder::open(&folder, &anybody()).unwrap();
}

/// A client waits for a tool that looks, because that takes moments.
#[test]
fn a_tool_does_not_keep_a_client_from_starting() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &anybody()).unwrap());
    let looking = Folder::visit(&folder).unwrap();

    let client = std::thread::spawn(move || Folder::open(folder, &anybody()).map(drop));
    // waits: the client must be seen waiting before the tool is done
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert!(!client.is_finished());
    drop(looking);
    client.join().unwrap().unwrap();
}

#[test]
fn the_lock_of_a_dead_process_blocks_nobody() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &anybody()).unwrap());
    let lock = folder.join("queue.lock");
    if Command::new("flock").arg("--version").stdout(Stdio::null()).status().is_err() {
        skipped("the lock of a dead process", "flock is missing; apt-get install util-linux");
        return;
    }
    let mut other = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo locked; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert!(refusal(Folder::open(&folder, &anybody())).contains("in use by"));
    // `flock` waits for its own child, which holds the lock as well: both must die.
    let children = Command::new("ps").args(["-o", "pid=", "--ppid", &other.id().to_string()]).output();
    other.kill().unwrap();
    other.wait().unwrap();
    let Ok(children) = children else {
        skipped("the lock of a dead process", "ps is missing; apt-get install procps");
        return;
    };
    for pid in String::from_utf8_lossy(&children.stdout).split_whitespace() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
    }
    for _ in 0..100 {
        if Folder::open(&folder, &anybody()).is_ok() {
            return;
        }
        // waits: a process that was killed ends a moment later
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the lock of a dead process still blocks");
}

#[test]
fn another_client_is_refused_and_the_own_one_is_remembered() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &client("plant-7", &["a:1883", "b:1883"])).unwrap());
    let error = refusal(Folder::open(&folder, &client("plant-8", &["a:1883"])));
    assert!(error.contains("belongs to client `plant-7`, not `plant-8`"), "{error}");
    let error = refusal(Folder::open(&folder, &client("plant-7", &["c:1883"])));
    assert!(error.contains("belongs to server `a:1883, b:1883`, not `c:1883`"), "{error}");
    // A list that moves on one by one is the same place.
    drop(Folder::open(&folder, &client("plant-7", &["b:1883", "c:1883"])).unwrap());
    drop(Folder::open(&folder, &client("plant-7", &["c:1883"])).unwrap());
    let queue = Folder::open(&folder, &anybody()).unwrap();
    assert_eq!(queue.client_id().map(Text::as_str), Some("plant-7"));
}

#[test]
fn a_client_id_chosen_later_is_remembered_too() {
    let scratch = Scratch::new();
    let (given, assigned) = (scratch.join("given"), scratch.join("assigned"));
    let mut queue = Folder::open(&given, &anybody()).unwrap();
    assert_eq!(queue.client_id(), None);
    queue.set_client_id(&Text::from_static("rejoin-1")).unwrap();
    drop(queue);
    assert!(refusal(Folder::open(&given, &client("other", &[]))).contains("rejoin-1"));

    let mut queue = Folder::open(&assigned, &anybody()).unwrap();
    queue.recover().unwrap();
    queue.commit(&[Record::ClientId { id: Text::from_static("../../etc/auto-1\n") }]).unwrap();
    assert_eq!(queue.client_id().map(Text::as_str), Some("../../etc/auto-1\n"));
    drop(queue);
    let queue = Folder::open(&assigned, &anybody()).unwrap();
    assert_eq!(queue.client_id().map(Text::as_str), Some("../../etc/auto-1\n"), "and is no path");
    drop(queue);
    let error = refusal(Folder::open(&assigned, &client("x\u{1b}[2J", &[])));
    assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error:?}");
}

#[test]
fn what_is_missing_is_never_a_new_beginning() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    let mut queue = Folder::open(&folder, &anybody()).unwrap();
    queue.recover().unwrap();
    queue.commit(&[enqueued(1, "a")]).unwrap();
    drop(queue);
    let (data, away) = (folder.join("queue.redb"), scratch.join("away"));
    fs::rename(&data, &away).unwrap();
    let error = refusal(Folder::open(&folder, &anybody()));
    assert!(error.contains("is missing"), "{error}");
    fs::write(&data, b"").unwrap();
    assert!(refusal(Folder::open(&folder, &anybody())).contains("is empty"));
    fs::write(&data, b"something else that is long enough to be looked at").unwrap();
    refusal(Folder::open(&folder, &anybody()));
    fs::rename(&away, &data).unwrap();
    fs::remove_file(folder.join("queue.format")).unwrap();
    let mut queue = Folder::open(&folder, &anybody()).unwrap();
    assert_eq!(queue.recover().unwrap().waiting.len(), 1);
    assert!(folder.join("queue.format").exists(), "and it is noted again");
}

#[test]
fn a_beginning_that_was_cut_short_begins_again() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("queue.redb.new"), b"half a file").unwrap();
    fs::write(folder.join("queue.format.new"), b"rejoin que").unwrap();
    let mut queue = Folder::open(&folder, &anybody()).unwrap();
    assert!(queue.recover().unwrap().waiting.is_empty());
}

#[test]
fn a_queue_that_is_removed_or_replaced_under_its_client_is_noticed() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    let mut queue = Folder::open(&folder, &anybody()).unwrap();
    queue.recover().unwrap();
    queue.maintain().unwrap();
    fs::copy(folder.join("queue.redb"), scratch.join("copy")).unwrap();
    fs::rename(scratch.join("copy"), folder.join("queue.redb")).unwrap();
    let error = queue.maintain().unwrap_err();
    assert!(matches!(&error, StoreError::Place { what, .. } if what.contains("replaced")), "{error}");

    let mut queue = Folder::open(scratch.join("second"), &anybody()).unwrap();
    queue.recover().unwrap();
    fs::remove_dir_all(scratch.join("second")).unwrap();
    let error = queue.maintain().unwrap_err();
    assert!(matches!(&error, StoreError::Place { what, .. } if what.contains("removed")), "{error}");
}

#[test]
fn other_formats_are_refused_by_number() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    drop(Folder::open(&folder, &anybody()).unwrap());
    for (found, remedy) in [(0, "drain it with the rejoin that wrote it"), (2, "use the newer rejoin")] {
        fs::write(folder.join("queue.format"), format!("rejoin queue format {found}\n")).unwrap();
        let error = refusal(Folder::open(&folder, &anybody()));
        assert!(error.contains(&format!("has format {found}, this program reads 1; {remedy}")), "{error}");
    }
    fs::write(folder.join("queue.format"), b"\xFF\xFE what").unwrap();
    assert!(refusal(Folder::open(&folder, &anybody())).contains("does not say a format"));
}

#[test]
fn a_tool_makes_nothing() {
    let scratch = Scratch::new();
    assert!(refusal(Folder::visit(scratch.join("nothing"))).contains("no such folder"));
    assert!(!scratch.join("nothing").exists());
    fs::create_dir(scratch.join("empty")).unwrap();
    assert!(refusal(Folder::visit(scratch.join("empty"))).contains("no queue in it"));
    assert_eq!(fs::read_dir(scratch.join("empty")).unwrap().count(), 0);
}
