use std::collections::BTreeMap;

use rejoin::store::{Folder, FolderOptions, Identity, MemoryStore, Store};
use rejoin_lab::store::life::StoppedClock;
use rejoin_lab::store::{Disk, contract};

use crate::folder::Scratch;

fn boxed(store: impl Store + 'static) -> Box<dyn Store> {
    Box::new(store)
}

#[test]
fn the_memory_store_keeps_the_contract() {
    let mut places: BTreeMap<u64, MemoryStore> = BTreeMap::new();
    contract(&mut |place| Ok(boxed(places.entry(place).or_default().clone()))).unwrap();
}

#[test]
fn the_folder_keeps_the_contract() {
    let scratch = Scratch::new();
    contract(&mut |place| Folder::open(scratch.join(place.to_string()), &Identity::default()).map(boxed))
        .unwrap();
}

#[test]
fn the_folder_keeps_the_contract_with_quick_repair() {
    let mut disks: BTreeMap<u64, Disk> = BTreeMap::new();
    let options = FolderOptions { quick_repair: true, ..FolderOptions::default() };
    contract(&mut |place| {
        let disk = disks.entry(place).or_default().clone();
        Folder::on(disk, &Identity::default(), options, rejoin::store::SystemClock).map(boxed)
    })
    .unwrap();
    let _ = StoppedClock;
}
